"""One move at a time: what each step of a plan does, and what a crash before the next one leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from botshard.sharding.fleet import PoolPhase, PoolStatus, Snapshot
from botshard.sharding.ids import Epoch, PoolName, ShardIndex
from botshard.sharding.placement import FamilyPlacement, Placement, place
from botshard.sharding.plan import Plan, plan
from botshard.sharding.routing import FamilyRoutes, RoutingTable
from tests.sharding.building import LAZY, TORCH, group, loads, only_family, settled, snapshot, url_of

NOW_S, GRACE_S = 1000.0, 10.0
LAZY_TORCH = replace(TORCH, group=LAZY)


def step(seen: Snapshot, wanted: Placement, *, now_s: float = NOW_S) -> Plan:
    """The next step."""
    return plan(seen, wanted, now_s=now_s, grace_s=GRACE_S)


def after(seen: Snapshot, done: Plan) -> Snapshot:
    """The snapshot when a step's table is published."""
    assert done.table is not None
    return replace(seen, table=done.table)


def one_shard_moving(*, realtime: bool) -> tuple[Snapshot, Placement, PoolName, PoolName]:
    """A settled fleet of two pools, a placement that moves shard 0 to a third, and the pool it leaves and enters."""
    key = TORCH if realtime else LAZY_TORCH
    seen = snapshot(loads(150, key), group(key.group))
    now = settled(seen, place(seen))
    family = only_family(place(now))
    leaves, enters = family.shards[0][0], PoolName(f"{family.pools[0]}x"[-50:])
    wanted = FamilyPlacement(
        family.id, family.key, family.bits, (*family.pools, enters), ((enters,), *family.shards[1:])
    )
    return now, Placement({family.id: wanted}), leaves, enters


def family_of(table: RoutingTable | None) -> FamilyRoutes:
    """The table's one family."""
    assert table is not None
    (family,) = table.families.values()
    return family


def with_pool(seen: Snapshot, name: PoolName, *, warmed: int | None = None) -> Snapshot:
    """The snapshot with a pool that has a URL, and perhaps has warmed."""
    pools = {**seen.pools, name: PoolStatus(name, url_of(name), PoolPhase.READY)}
    warm = {**seen.warmed, **({name: Epoch(warmed)} if warmed is not None else {})}
    return replace(seen, pools=pools, warmed=warm)


def test_the_first_table_waits_for_every_url_of_a_family() -> None:
    """There is nothing to break: pools are made, and routed as soon as they have addresses."""
    seen = snapshot(loads(150))
    wanted = place(seen)
    first = step(seen, wanted)
    assert [spec.name for spec in first.ensure] == list(only_family(wanted).pools)
    assert first.table is not None
    assert dict(first.table.families) == {}
    assert "no URL yet" in first.waiting[0]
    for name in only_family(wanted).pools:
        seen = with_pool(seen, name)
    second = step(after(seen, first), wanted)
    assert family_of(second.table).shards == only_family(wanted).shards
    assert family_of(second.table).targets == {}
    assert second.waiting == ()
    assert step(after(seen, second), wanted).is_settled


def test_a_realtime_shard_warms_is_routed_lingers_and_lets_go() -> None:
    """The whole life of a move, each step from the table alone."""
    now, wanted, leaves, enters = one_shard_moving(realtime=True)
    assert now.table is not None
    made = step(now, wanted)
    assert (made.table, made.remove) == (None, ())
    assert enters in {spec.name for spec in made.ensure}
    assert enters in made.waiting[0]

    now = with_pool(now, enters)
    warming = step(now, wanted)
    family = family_of(warming.table)
    assert family.shards[0] == (leaves,)
    assert family.targets[ShardIndex(0)].pools == (enters,)
    assert family.targets[ShardIndex(0)].since == Epoch(2)
    assert family.answering(ShardIndex(0)) == (leaves, enters)

    now = after(now, warming)
    still = step(with_pool(now, enters, warmed=family.targets[ShardIndex(0)].since - 1), wanted)
    assert still.table is None
    assert still.waiting == (f"family {family.id}: not warm yet: {enters}",)

    now = with_pool(now, enters, warmed=family.targets[ShardIndex(0)].since)
    routed = step(now, wanted)
    family = family_of(routed.table)
    assert family.shards[0] == (enters,)
    assert family.targets == {}
    assert family.lingering[ShardIndex(0)].pools == (leaves,)
    assert family.lingering[ShardIndex(0)].until_s == NOW_S + GRACE_S

    now = after(now, routed)
    assert step(now, wanted, now_s=NOW_S + GRACE_S - 0.1).table is None
    released = step(now, wanted, now_s=NOW_S + GRACE_S)
    assert family_of(released.table).lingering == {}
    assert step(after(now, released), wanted).is_settled


def test_a_lazy_shard_is_routed_as_soon_as_its_pool_has_an_address() -> None:
    """It loads a bot when it is asked for it; the old pool still lingers."""
    now, wanted, leaves, enters = one_shard_moving(realtime=False)
    assert step(now, wanted).table is None
    routed = step(with_pool(now, enters), wanted)
    assert family_of(routed.table).shards[0] == (enters,)
    assert family_of(routed.table).lingering[ShardIndex(0)].pools == (leaves,)


def test_a_move_that_is_called_back_leaves_no_trace() -> None:
    """The old pool served all the time; the new one is removed when no table names it."""
    now, wanted, leaves, enters = one_shard_moving(realtime=True)
    before = place(now)
    now = with_pool(now, enters)
    now = after(now, step(now, wanted))
    back = step(now, before)
    assert family_of(back.table).shards[0] == (leaves,)
    assert family_of(back.table).targets == {}
    assert back.remove == ()
    gone = step(after(now, back), before)
    assert (gone.table, gone.remove) == (None, (enters,))


def test_a_move_that_changes_its_mind_warms_the_new_pool_from_now_on() -> None:
    """A pool that is warm for what it had before is not warm for this shard."""
    now, wanted, leaves, enters = one_shard_moving(realtime=True)
    now = with_pool(now, enters)
    now = after(now, step(now, wanted))
    (family,) = wanted.families.values()
    other = next(name for name in family.pools if name not in (leaves, enters))
    now = with_pool(now, other, warmed=2)
    instead = Placement({family.id: replace(family, shards=((other,), *family.shards[1:]))})
    routes = family_of(step(now, instead).table)
    assert routes.shards[0] == (leaves,)
    assert (routes.targets[ShardIndex(0)].pools, routes.targets[ShardIndex(0)].since) == ((other,), 3)


def test_a_shard_that_comes_back_while_it_lingers_is_warmed_again() -> None:
    """The pool that it left still answers, but its replicas may be others by now."""
    now, wanted, leaves, enters = one_shard_moving(realtime=True)
    before = place(now)
    now = with_pool(now, enters)
    now = after(now, step(now, wanted))
    assert now.table is not None
    now = with_pool(now, enters, warmed=now.table.epoch)
    now = after(now, step(now, wanted))
    returning = step(now, before)
    family = family_of(returning.table)
    assert family.shards[0] == (enters,)
    assert family.targets[ShardIndex(0)].pools == (leaves,)
    now = after(now, returning)
    assert now.table is not None
    back = family_of(step(with_pool(now, leaves, warmed=now.table.epoch), before).table)
    assert back.shards[0] == (leaves,)
    assert back.lingering[ShardIndex(0)].pools == (enters,)


@pytest.mark.parametrize("jump_s", [-86_400.0, -1.0], ids=["a day", "a second"])
def test_a_clock_set_back_does_not_keep_a_pool_for_longer_than_a_grace(jump_s: float) -> None:
    """The end of a grace is never further away than a grace."""
    now, wanted, _, enters = one_shard_moving(realtime=False)
    now = with_pool(now, enters)
    now = after(now, step(now, wanted))
    corrected = step(now, wanted, now_s=NOW_S + jump_s)
    assert family_of(corrected.table).lingering[ShardIndex(0)].until_s == NOW_S + jump_s + GRACE_S
    assert family_of(step(after(now, corrected), wanted, now_s=NOW_S + jump_s + GRACE_S).table).lingering == {}


def test_a_split_in_the_middle_of_a_move_keeps_every_set() -> None:
    """Both halves warm, linger and route where the whole did."""
    now, wanted, leaves, enters = one_shard_moving(realtime=True)
    now = with_pool(now, enters)
    now = after(now, step(now, wanted))
    (family,) = wanted.families.values()
    finer = Placement({family.id: family.split_to(family.bits + 1)})
    assert now.table is not None
    routed = family_of(step(with_pool(now, enters, warmed=now.table.epoch), finer).table)
    assert routed.shards[:2] == ((enters,), (enters,))
    assert [routed.lingering[ShardIndex(shard)].pools for shard in (0, 1)] == [(leaves,), (leaves,)]
    finest = Placement({family.id: family.split_to(family.bits + 2)})
    halves = family_of(step(replace(now, table=replace(now.table, families={routed.id: routed})), finest).table)
    assert len(halves.shards) == 2 * len(routed.shards)
    assert all(halves.lingering[ShardIndex(shard)].pools == (leaves,) for shard in range(4))


def test_a_new_address_is_published() -> None:
    """A pool that came up elsewhere; one without an address now keeps its last."""
    seen = snapshot(loads(5))
    now = settled(seen, place(seen))
    (name,) = only_family(place(now)).pools
    moved = replace(now, pools={name: PoolStatus(name, "http://elsewhere", PoolPhase.READY)})
    assert family_of(step(moved, place(now)).table).urls == {name: "http://elsewhere"}
    starting = replace(now, pools={name: PoolStatus(name, None, PoolPhase.STARTING)})
    assert step(starting, place(now)).is_settled


def test_new_bounds_of_a_group_are_published() -> None:
    """Routers read timeouts from the table."""
    seen = snapshot(loads(5))
    now = settled(seen, place(seen))
    changed = replace(now, groups={TORCH.group: replace(now.groups[TORCH.group], request_timeout_s=3.5)})
    table = step(changed, place(changed)).table
    assert table is not None
    assert table.groups[TORCH.group].request_timeout_s == 3.5
    assert table.epoch == 2


def test_a_family_whose_last_bot_retires_goes_one_step_before_its_pools() -> None:
    """A publish that fails must not leave a table whose pools are gone."""
    seen = snapshot(loads(5))
    now = settled(seen, place(seen))
    empty = replace(now, bots=())
    gone = step(empty, place(empty))
    assert gone.table is not None
    assert (dict(gone.table.families), gone.remove) == ({}, ())
    assert step(after(empty, gone), place(empty)).remove == tuple(now.pools)
