"""What must hold of every placement: capacity, k pools, one answer on any machine, its own result kept."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding import placement as placing
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.errors import CallerError
from botshard.sharding.fleet import BotLoad, Snapshot
from botshard.sharding.hashing import bot_hash, family_id, pool_name, rank_pools, shard_of
from botshard.sharding.ids import Epoch, FamilyId, Framework, PoolName, ShardIndex
from botshard.sharding.invariants import check_placement
from botshard.sharding.placement import FamilyPlacement, place
from botshard.sharding.plan import plan
from botshard.sharding.routing import FamilyRoutes, Linger, Target
from tests.sharding.building import (
    LAZY,
    LIGHT,
    MIB,
    REALTIME,
    TORCH,
    group,
    load,
    loads,
    only_family,
    settled,
    snapshot,
)

KEYS = [TORCH, FamilyKey(REALTIME, Framework("torch"), "minilm"), FamilyKey(LAZY, Framework("tensorflow"))]


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Fleets of up to three families in two groups, of small, uneven and huge bots."""
    groups = {
        name: group(
            name,
            shard_replicas=draw(st.integers(1, 3)),
            bots_per_pool=draw(st.sampled_from([1, 2, 5, 20, 100])),
            pool_memory_bytes=draw(st.sampled_from([10, 100])) * MIB,
            pool_rate_per_s=draw(st.sampled_from([0.0, 0.0, 10.0])),
            blast_radius_limit=draw(st.sampled_from([None, None, None, 0.3])),
        )
        for name in (REALTIME, LAZY)
    }
    size = st.sampled_from([0, 1, MIB // 10, MIB, 3 * MIB, 6 * MIB, 10 * MIB, 11 * MIB])
    rate = st.sampled_from([0.0, 0.0004, 1.0, 4.0, 9.0, 1000.0])
    bots = [
        replace(
            load(f"bot-{key.framework}-{key.backbone}-{number}", key, footprint_bytes=draw(size)), rate_per_s=draw(rate)
        )
        for key in draw(st.sets(st.sampled_from(KEYS)))
        for number in range(draw(st.integers(1, 30)))
    ]
    return Snapshot(groups, tuple(draw(st.permutations(bots))), None)


@given(seen=snapshots(), later=snapshots())
@LIGHT
def test_promises_hold_from_nothing_and_from_any_other_placement(seen: Snapshot, later: Snapshot) -> None:
    """Capacity, k distinct pools, every bot placed or refused, whatever was there before."""
    first = place(seen)
    assert check_placement(first, seen) == []
    table = settled(seen, first).table
    second = replace(later, table=table)
    assert check_placement(place(second), second) == []


@given(seen=snapshots(), later=snapshots())
@LIGHT
def test_the_placement_of_its_own_result_is_that_result(seen: Snapshot, later: Snapshot) -> None:
    """Nothing moves, splits, comes or goes without a reason."""
    now = settled(seen, place(seen))
    assert place(now) == place(seen)
    changed = replace(later, table=now.table)
    assert place(settled(changed, place(changed))) == place(changed)


@given(seen=snapshots(), data=st.data())
@LIGHT
def test_the_order_of_bots_does_not_matter(seen: Snapshot, data: st.DataObject) -> None:
    """A snapshot is a set."""
    shuffled = replace(seen, bots=tuple(data.draw(st.permutations(tuple(seen.bots)))))
    assert place(shuffled).families == place(seen).families
    assert set(place(shuffled).refused) == set(place(seen).refused)


_PRINT_A_PLACEMENT = """
from tests.sharding.building import *
from botshard.sharding.placement import FamilyPlacement, place
from botshard.sharding.plan import plan
from botshard.sharding.routing import FamilyRoutes, Linger, Target
from botshard.sharding.codec import encode_table
seen = snapshot(loads(300, footprint_bytes=MIB // 3), group(shard_replicas=2))
first = place(seen)
more = settled(replace(seen, bots=seen.bots + loads(200, prefix="more")), first)
print(encode_table(published(place(more), more)).decode())
"""


def test_the_same_snapshot_gives_the_same_placement_in_every_process() -> None:
    """Python salts its own hashes by process; ours must not depend on it."""
    found = {
        subprocess.run(
            [sys.executable, "-c", _PRINT_A_PLACEMENT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(found) == 1
    assert "botshard.table/v1" in found.pop()


def test_pools_are_as_many_as_bytes_bots_or_replicas_need() -> None:
    """At most 80 % of each bound on the mean, and never fewer pools than k."""
    assert len(only_family(place(snapshot(loads(81)))).pools) == 2
    assert len(only_family(place(snapshot(loads(80)))).pools) == 1
    by_bytes = snapshot(loads(81), group(bots_per_pool=1000, pool_memory_bytes=20 * MIB))
    assert len(only_family(place(by_bytes)).pools) == 6
    assert len(only_family(place(snapshot(loads(1), group(shard_replicas=3)))).pools) == 3


def test_replicas_of_a_shard_are_counted_as_load() -> None:
    """With k = 2 every bot is in memory twice."""
    one, two = (only_family(place(snapshot(loads(400), group(shard_replicas=k)))) for k in (1, 2))
    assert (len(one.pools), len(two.pools)) == (5, 10)


def test_pools_of_a_shard_stand_in_its_rendezvous_order() -> None:
    """The first is the one that everybody computes as the best of them."""
    family = only_family(place(snapshot(loads(300), group(shard_replicas=2))))
    for shard, pools in enumerate(family.shards):
        assert rank_pools(ShardIndex(shard), family.bits, pools) == pools


@pytest.mark.parametrize(
    ("bot", "words"),
    [
        (load("big", footprint_bytes=101 * MIB), ["101.0 MiB", "100.0 MiB", "'realtime'"]),
        (load("lost", FamilyKey(LAZY, Framework("torch"))), ["'non-realtime'", "does not exist"]),
    ],
    ids=["bigger than a pool", "in no group"],
)
def test_a_bot_that_fits_nowhere_is_refused_with_the_numbers(bot: BotLoad, words: list[str]) -> None:
    """It harms no other, and its author can read why."""
    placement = place(snapshot([*loads(5), bot]))
    (refusal,) = placement.refused
    assert refusal.bot == bot.id
    assert all(word in refusal.reason for word in words)
    assert len(placement.families) == 1


def _twins(bits: int) -> list[str]:
    """Two ids whose hashes begin with the same bits."""
    seen: dict[ShardIndex, str] = {}
    for name in (f"b{number}" for number in range(10_000)):
        twin = seen.setdefault(shard_of(bot_hash(name), bits), name)
        if twin != name:
            return [twin, name]
    raise AssertionError("ten thousand ids without a pair")


@pytest.mark.parametrize(
    "bounds", [{"bots_per_pool": 1}, {"pool_memory_bytes": 3 * MIB // 2}], ids=["by number", "by bytes"]
)
def test_two_bots_that_no_split_separates_do_not_stop_the_others(
    bounds: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can find two such ids; the second is refused, and the rest is placed in few shards."""
    monkeypatch.setattr(placing, "MAX_SHARD_BITS", 12)
    twins = _twins(12)
    seen = snapshot([*loads(6), *map(load, reversed(twins))], replace(group(), **bounds))
    placement = place(seen)
    (refusal,) = placement.refused
    assert refusal.bot == max(twins)
    assert "2.0 MiB" in refusal.reason
    assert "pin" in refusal.reason
    assert check_placement(placement, seen) == []
    assert only_family(placement).bits < 10
    assert place(settled(seen, placement)) == placement


def test_bots_that_only_the_finest_shards_separate_are_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last split that a table may have still helps."""
    monkeypatch.setattr(placing, "MAX_SHARD_BITS", 7)
    names = {shard_of(bot_hash(f"b{number}"), 7): f"b{number}" for number in range(1000)}
    neighbours = [load(names[shard], footprint_bytes=60 * MIB) for shard in map(ShardIndex, (10, 11))]
    family = only_family(place(snapshot(neighbours)))
    assert (family.bits, len(family.pools)) == (7, 2)


def test_few_big_bots_do_not_make_a_million_shards() -> None:
    """200 bots, 4 a pool: shards are split for balance only so far."""
    family = only_family(place(snapshot(loads(200), group(bots_per_pool=4))))
    assert family.bits <= 12


def test_bots_of_more_than_half_a_pool_each_get_one() -> None:
    """No two fit together, whatever the mean fill says."""
    family = only_family(place(snapshot(loads(20, footprint_bytes=60 * MIB))))
    assert len(family.pools) == 20


@pytest.mark.parametrize(
    ("prefix", "sizes", "bots_per_pool", "pools"),
    [
        ("s2999", (37, 51, 14, 51, 51, 51), 3, 8),
        ("s617", (51, 51, 51, 51, 29, 51, 50, 51, 51), 100, 16),
    ],
    ids=["fewer do", "fewer do not"],
)
def test_pools_that_big_bots_asked_for_are_questioned_in_the_same_call(
    prefix: str, sizes: tuple[int, ...], bots_per_pool: int, pools: int
) -> None:
    """The next call would ask whether fewer pools do, hence this one does, and its own result is kept."""
    bots = [load(f"{prefix}-{number}", footprint_bytes=size * MIB) for number, size in enumerate(sizes)]
    seen = snapshot(bots, group(shard_replicas=2, bots_per_pool=bots_per_pool))
    placement = place(seen)
    assert len(only_family(placement).pools) == pools
    assert place(settled(seen, placement)) == placement


def test_families_with_one_id_do_not_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 bits can clash: who is in the table keeps the id, the other is refused with the way out."""
    clashing = [FamilyKey(REALTIME, Framework("torch"), None, pin) for pin in ("a", "b")]
    monkeypatch.setattr(placing, "family_id", lambda key: FamilyId("torch-00000000") if key.pin else family_id(key))
    bots = [load("first", clashing[0]), load("second", clashing[1]), load("other")]
    from_nothing = place(snapshot(bots))
    assert [refusal.bot for refusal in from_nothing.refused] == ["second"]
    assert "another pin" in from_nothing.refused[0].reason
    assert len(from_nothing.families) == 2
    with_second = settled(snapshot(bots[1:]), place(snapshot(bots[1:])))
    later = place(replace(with_second, bots=tuple(bots)))
    assert [refusal.bot for refusal in later.refused] == ["first"]
    assert later.families[FamilyId("torch-00000000")].key == clashing[1]


def test_a_shard_on_its_way_counts_as_where_it_is_going() -> None:
    """Else every new snapshot would begin its moves anew; pools that only linger are not the family's any more."""
    a, b, c = (PoolName(name) for name in "abc")
    routes = FamilyRoutes(
        family_id(TORCH),
        TORCH,
        1,
        dict.fromkeys((a, b, c), "http://x"),
        ((a,), (a,)),
        {ShardIndex(1): Target((b,), Epoch(1))},
        {ShardIndex(0): Linger((c,), 5.0)},
    )
    present = FamilyPlacement.of_routes(routes)
    assert present.shards == ((a,), (b,))
    assert present.pools == (a, b)


def test_shards_are_never_joined() -> None:
    """Saying a placement with fewer bits is our own mistake."""
    family = only_family(place(snapshot(loads(5))))
    with pytest.raises(CallerError, match="never joined"):
        family.split_to(family.bits - 1)


def test_pools_that_we_did_not_name_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table from other hands: its pools are drained into ours, and looking for their ordinals ends."""
    monkeypatch.setattr(placing, "_MAX_ORDINAL", 50)
    seen = snapshot(loads(310))
    now = settled(seen, place(seen))
    assert now.table is not None
    ((name, routes),) = now.table.families.items()
    ours, foreign = min(routes.urls), PoolName("somebody-elses")
    strange = replace(
        routes,
        urls={**routes.urls, foreign: "http://x"},
        shards=tuple(tuple(foreign if pool == ours else pool for pool in pools) for pools in routes.shards),
    )
    later = replace(now, table=replace(now.table, families={name: strange}))
    placement = place(later)
    assert check_placement(placement, later) == []
    assert only_family(placement).pools == only_family(place(seen)).pools


def test_equal_pool_names_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """24 bits of a pool's name can clash too: the next ordinal is taken."""
    monkeypatch.setattr(placing, "pool_name", lambda name, family, ordinal: pool_name(name, family, ordinal // 2))
    family = only_family(place(snapshot(loads(300))))
    assert len(set(family.pools)) == 4


def test_nobody_to_place_is_an_empty_placement() -> None:
    """The first morning."""
    placement = place(snapshot([]))
    assert (dict(placement.families), placement.refused) == ({}, ())


def test_a_bot_of_no_bytes_has_a_place() -> None:
    """Also before anything is measured."""
    family = only_family(place(snapshot([load("unmeasured", footprint_bytes=0)])))
    assert len(family.pools) == 1


@pytest.mark.parametrize("key", [TORCH, FamilyKey(LAZY, Framework("torch"))], ids=lambda key: key.group)
def test_a_bound_that_becomes_too_small_for_every_bot_takes_no_pool_away(key: FamilyKey) -> None:
    """A slip in a group's memory refuses the bots, with the numbers, and leaves their pools to serve what they hold."""
    seen = snapshot(loads(250, key), group(key.group, shard_replicas=2))
    before = place(seen)
    slip = replace(settled(seen, before), groups={key.group: group(key.group, shard_replicas=2, pool_memory_bytes=64)})
    placement = place(slip)
    assert placement.families == before.families
    assert len(placement.refused) == 250
    assert check_placement(placement, slip) == []
    step = plan(slip, placement, now_s=0.0, grace_s=1.0)
    assert (step.table, step.remove) == (None, ())
    drained = replace(slip, leaving=frozenset(only_family(before).pools[:1]))
    assert check_placement(place(drained), drained) == []
