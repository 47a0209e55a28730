"""Which bots leave memory for others: by how often they are asked, what a reload costs, and how large they are."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.caches import hits_of_lru, hits_of_us
from benchmarks.residency import zipf_trace
from botshard.sharding.ids import BotId
from kserve_runtimes.core.eviction import Keep

A, B, C, BIG = BotId("a"), BotId("b"), BotId("c"), BotId("big")
NO_WINDOW = 0


def _keep(bots: Iterable[tuple[BotId, int, int, float]], *, room_bytes: int = NO_WINDOW) -> Keep:
    """Bots in memory: how often each was asked, its bytes, its seconds to load."""
    keep = Keep(room_bytes)
    for bot_id, asked, size_bytes, cost_s in bots:
        for _ in range(asked):
            keep.asked(bot_id)
        keep.loaded(bot_id, size_bytes, cost_s)
    return keep


def _anybody(_: BotId) -> bool:
    return True


def test_the_least_asked_bot_leaves_first() -> None:
    """Whatever the order in which they came, where all else is equal."""
    keep = _keep([(A, 9, 100, 0.01), (B, 2, 100, 0.01), (C, 5, 100, 0.01)])
    assert keep.victims(100, _anybody) == (B,)
    assert keep.victims(200, _anybody) == (B, C)


def test_a_large_bot_must_be_asked_more_to_stay() -> None:
    """Its bytes would keep several others."""
    keep = _keep([(BIG, 6, 400, 0.01), (A, 3, 100, 0.01), (B, 3, 100, 0.01)])
    assert keep.victims(100, _anybody) == (BIG,)


def test_what_is_slow_to_load_stays_longer() -> None:
    """A reload that costs much is worth more room."""
    keep = _keep([(B, 4, 100, 0.01), (C, 4, 100, 0.01), (A, 3, 100, 2.0)])
    assert keep.victims(200, _anybody) == (B, C)


def test_one_slow_load_is_not_believed_at_once() -> None:
    """It was the machine more likely than the bot: a bot asked ten times as often outweighs it."""
    keep = _keep([(A, 2, 100, 0.05), (B, 20, 100, 0.01), (C, 20, 100, 0.01)])
    assert keep.victims(100, _anybody) == (A,)


def test_nobody_leaves_in_vain() -> None:
    """Where all that may leave is not enough, nothing does; small ones stay if a large one is enough alone."""
    keep = _keep([(A, 1, 100, 0.01), (B, 2, 100, 0.01), (BIG, 10, 400, 0.01)])
    assert keep.victims(700, _anybody) is None
    assert keep.victims(300, lambda bot_id: bot_id != BIG) is None
    assert keep.victims(450, _anybody) == (A, BIG)
    assert keep.victims(400, _anybody) == (BIG,)


def test_what_was_loaded_last_is_spared_where_others_are_enough() -> None:
    """Its second request comes right after its first, however seldom that happens."""
    keep = _keep([(A, 3, 100, 0.01), (B, 1, 100, 0.01)], room_bytes=10_000)
    assert keep.victims(100, _anybody) == (A,)
    assert keep.victims(200, _anybody) == (B, A)


def test_a_bot_that_left_keeps_its_count_until_it_is_forgotten() -> None:
    """Who comes back is as welcome as before."""
    keep = _keep([(A, 9, 100, 0.01), (B, 3, 100, 0.01), (C, 1, 100, 0.01)])
    keep.left(A)
    keep.loaded(A, 100, 0.01)
    assert keep.victims(200, _anybody) == (C, B)
    keep.forget(A)
    keep.loaded(A, 100, 0.01)
    assert keep.victims(200, _anybody) == (A, C)


def test_rates_of_the_past_are_a_beginning() -> None:
    """A replica that has just started does not throw out what its pool used most."""
    keep = Keep(NO_WINDOW)
    keep.seed({A: 5.0, B: 0.1})
    for bot_id in (B, A, C):
        keep.loaded(bot_id, 100, 0.01)
    keep.asked(C)
    assert keep.victims(100, lambda bot_id: bot_id != C) == (B,)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 300), st.integers(0, 20)), min_size=1, max_size=40),
    st.integers(1, 2000),
)
def test_victims_are_enough_and_none_too_many(bots: list[tuple[int, int, int]], needed_bytes: int) -> None:
    """Together they have the bytes, without any one of them not; who may not leave is not among them."""
    sizes = {BotId(f"bot-{index}"): size_bytes for index, (_, size_bytes, _) in enumerate(bots)}
    pinned = {BotId(f"bot-{index}") for index, (_, _, cost) in enumerate(bots) if cost % 5 == 0}
    keep = _keep(
        (BotId(f"bot-{index}"), asked, size_bytes, cost / 100) for index, (asked, size_bytes, cost) in enumerate(bots)
    )
    victims = keep.victims(needed_bytes, lambda bot_id: bot_id not in pinned)
    assert victims == keep.victims(needed_bytes, lambda bot_id: bot_id not in pinned)
    if victims is None:
        assert sum(size for bot_id, size in sizes.items() if bot_id not in pinned) < needed_bytes
        return
    freed_bytes = sum(sizes[bot_id] for bot_id in victims)
    assert freed_bytes >= needed_bytes
    assert all(freed_bytes - sizes[bot_id] < needed_bytes for bot_id in victims)
    assert not pinned.intersection(victims)


def test_a_sweep_over_all_bots_costs_nobody_else_a_hit() -> None:
    """The others hit as often as without it, and more often than with a cache that goes by the last use."""
    plain, swept = zipf_trace(1.0), zipf_trace(1.0, sweep_every=20_000)
    own = {}
    for name, trace in (("plain", plain), ("swept", swept)):
        hits = hits_of_us(trace.bots[:60_000], 400)
        counted = [hit for at, hit in enumerate(hits) if at > 20_000 and at not in trace.swept]
        own[name] = sum(counted) / len(counted)
    lru = hits_of_lru(plain.bots[:60_000], 400)[20_000:]
    assert own["swept"] > own["plain"] - 0.01
    assert own["plain"] > sum(lru) / len(lru) + 0.05
