"""Bots that change one by one weigh what they would weigh if they were counted anew."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import BotLoad, Snapshot
from botshard.sharding.ids import BotId, Framework
from botshard.sharding.loads import BotLoads
from botshard.sharding.placement import place
from botshard.sharding.weights import Weight
from tests.sharding.building import LAZY, MIB, QUICK, TORCH, group, load, loads, settled

KEYS = [TORCH, FamilyKey(LAZY, Framework("torch"))]
CAPACITY = Weight(10 * MIB, 20, 10_000)


@st.composite
def bots(draw: st.DrawFn) -> BotLoad:
    """One of thirty bots, in one of two families."""
    size = st.sampled_from([0, 1, MIB, 6 * MIB, 10 * MIB, 11 * MIB])
    rate = st.sampled_from([0.0, 0.0004, 1.0, 1000.0])
    bot = load(f"bot-{draw(st.integers(0, 29))}", draw(st.sampled_from(KEYS)), footprint_bytes=draw(size))
    return replace(bot, rate_per_s=draw(rate))


ids = st.sets(st.integers(0, 29).map(lambda number: BotId(f"bot-{number}")), max_size=8)


@given(first=st.lists(bots(), max_size=30), rounds=st.lists(st.tuples(st.lists(bots(), max_size=8), ids), max_size=4))
@QUICK
def test_changes_sum_up_to_what_counting_anew_gives(
    first: list[BotLoad], rounds: list[tuple[list[BotLoad], set[BotId]]]
) -> None:
    """Bots, families, totals, shards, big and oversized ones; the value before a change stays what it was."""
    now = BotLoads.of(first)
    expected = {bot.id: bot for bot in first}
    for put, gone in rounds:
        # Sums that were asked for before a change are those that are kept through it.
        for family in now.families.values():
            family.weighed(CAPACITY).shards(4)
        before, held = now, dict(expected)
        for name in gone:
            expected.pop(name, None)
        expected.update((bot.id, bot) for bot in put)
        now = now.changed(put, remove=gone)
        assert set(before) == set(held.values())
    anew = BotLoads.of(expected.values())
    assert now == anew
    assert len(now) == len(expected)
    assert now.families.keys() == anew.families.keys()
    for key, family in now.families.items():
        weighed, counted = family.weighed(CAPACITY), anew.families[key].weighed(CAPACITY)
        assert dict(family.bots) == dict(anew.families[key].bots)
        assert (weighed.total, weighed.big, weighed.oversized) == (counted.total, counted.big, counted.oversized)
        assert weighed.shards(4) == counted.shards(4)
        assert weighed.shards_without_heaviest(4) == counted.shards_without_heaviest(4)


def test_what_has_not_changed_is_the_same_object() -> None:
    """So that a controller can ask cheaply whether anything did."""
    now = BotLoads.of(loads(10))
    assert BotLoads.of(now) is now
    assert now.changed([load("bot-3")]) is now
    assert now.changed([], remove=[BotId("stranger")]) is now
    other = now.changed([load("new", KEYS[1])])
    assert other.families[TORCH] is now.families[TORCH]
    assert load("new", KEYS[1]) in other
    assert other.get(BotId("nobody")) is None


def test_other_bounds_are_summed_up_anew() -> None:
    """A group that is edited changes what is oversized, and how much a hot bot counts."""
    family = BotLoads.of(loads(4, footprint_bytes=6 * MIB)).families[TORCH]
    assert family.weighed(CAPACITY).big == 4
    assert family.weighed(Weight(5 * MIB, 20, 10_000)).oversized == {f"bot-{number}" for number in range(4)}
    assert family.weighed(CAPACITY).total.bots == 4


def test_a_placement_made_of_changes_is_the_one_made_at_once() -> None:
    """Whichever way the bots came."""
    groups = {name: group(name, pool_memory_bytes=10 * MIB) for name in (TORCH.group, LAZY)}
    first = Snapshot(groups, BotLoads.of(loads(40)), None)
    now = settled(first, place(first))
    more = loads(30, prefix="more")
    changed = BotLoads.of(loads(40)).changed(more, remove=[BotId("bot-1")])
    at_once = BotLoads.of([bot for bot in (*loads(40), *more) if bot.id != "bot-1"])
    assert place(replace(now, bots=changed)) == place(replace(now, bots=at_once))
