"""A quarantined pool is asked nothing any more, at once; no shard is ever routed to nothing."""

from __future__ import annotations

from dataclasses import replace

from botshard.sharding.fleet import Snapshot
from botshard.sharding.ids import Epoch, PoolName, ShardIndex
from botshard.sharding.invariants import check_step
from botshard.sharding.placement import Placement
from tests.sharding.building import LAZY, TORCH
from tests.sharding.moving import (
    GRACE_S,
    NOW_S,
    SHARDS,
    A,
    B,
    C,
    D,
    after,
    begun,
    bots_of,
    fleet,
    placed,
    planned,
    routes_of,
    step,
    warm,
    with_pools,
)

BOTS = bots_of(dict.fromkeys(range(SHARDS), 5))


def quarantined(seen: Snapshot, *names: PoolName) -> Snapshot:
    """The snapshot in which an operator wants these pools to be asked nothing."""
    return replace(seen, leaving=frozenset(names), quarantined=frozenset(names))


def test_shards_with_another_pool_are_served_there_at_once() -> None:
    """The new second pool warms as ever, by its turn; routers that are behind may still ask the old one."""
    wanted = placed(((B, C),) * SHARDS)
    seen = quarantined(fleet(((A, B),) * SHARDS, BOTS), A)
    assert C not in seen.pools
    first = step(seen, wanted, budget_bots=5)
    seen = after(seen, first)
    assert routes_of(seen).shards == ((B,),) * SHARDS
    assert all(linger.pools == (A,) for linger in routes_of(seen).lingering.values())
    assert C in {spec.name for spec in first.ensure}
    seen = after(with_pools(seen, C), step(with_pools(seen, C), wanted, budget_bots=5))
    assert (begun(seen), planned(seen)) == ({0}, {1, 2, 3})
    seen = warm(seen, C)
    seen = after(seen, step(seen, wanted, now_s=NOW_S + GRACE_S))
    seen = after(warm(seen, C), step(warm(seen, C), wanted, now_s=NOW_S + GRACE_S))
    assert routes_of(seen).shards == ((B, C),) * SHARDS
    assert A not in routes_of(seen).urls
    assert step(seen, wanted, now_s=NOW_S + GRACE_S).remove == (A,)


def test_shards_without_another_go_to_their_new_pool_while_it_is_cold() -> None:
    """As soon as it has an address; until then they stay, and why is said."""
    wanted = placed(((B,),) * SHARDS)
    seen = quarantined(fleet(((A,),) * SHARDS, BOTS), A)
    waits = step(seen, wanted)
    assert (waits.table, waits.is_settled) == (None, False)
    assert f"no URL yet of {B}" in waits.waiting[0]
    seen = after(with_pools(seen, B), step(with_pools(seen, B), wanted, budget_bots=1))
    assert routes_of(seen).shards == ((B,),) * SHARDS
    assert routes_of(seen).targets == {}
    assert routes_of(seen).answering(ShardIndex(0)) == (B, A)


def test_of_two_new_pools_the_warm_one_is_asked() -> None:
    """And of two cold ones the one with an address; the other follows in its turn."""
    wanted = placed(((C, D),) * SHARDS)
    seen = with_pools(fleet(((A, B),) * SHARDS, BOTS), C, D)
    seen = after(seen, step(seen, wanted))
    assert begun(seen) == {0, 1, 2, 3}
    half_warm = quarantined(warm(seen, D), A, B)
    assert routes_of(after(half_warm, step(half_warm, wanted))).shards == ((D,),) * SHARDS

    cold = quarantined(with_pools(fleet(((A, B),) * SHARDS, BOTS), D), A, B)
    assert routes_of(after(cold, step(cold, wanted))).shards == ((D,),) * SHARDS


def test_a_move_to_a_pool_that_is_quarantined_is_called_back() -> None:
    """It goes elsewhere, and the old pool serves all the time."""
    seen = with_pools(fleet(((A,),) * SHARDS, BOTS), B, C)
    seen = after(seen, step(seen, placed(((B,),) * SHARDS)))
    seen = quarantined(seen, B)
    seen = after(seen, step(seen, placed(((C,),) * SHARDS)))
    assert routes_of(seen).shards == ((A,),) * SHARDS
    assert all(target.pools == (C,) for target in routes_of(seen).targets.values())


def test_a_family_that_is_held_leaves_what_it_can() -> None:
    """Its placement still names the pool: shards with another leave it, the others stay, for lack of anywhere to go."""
    rows = ((A, B), (A,), (B,), (A, B))
    held = replace(placed(rows), held={routes_of(fleet(rows, BOTS)).id: "it stays"})
    seen = quarantined(fleet(rows, BOTS), A)
    seen = after(seen, step(seen, held))
    assert routes_of(seen).shards == ((B,), (A,), (B,), (B,))
    again: Placement = replace(held, families=placed(routes_of(seen).shards).families)
    seen = after(seen, step(seen, again, now_s=NOW_S + GRACE_S))
    assert step(seen, again, now_s=NOW_S + GRACE_S).is_settled


def test_a_pool_that_loads_on_demand_is_left_alike() -> None:
    """Its shards have one pool more or go at once; the budget bounds only what has a choice."""
    key = replace(TORCH, group=LAZY)
    bots = bots_of(dict.fromkeys(range(SHARDS), 5), key=key)
    wanted = placed(((B, C), (B, C), (C,), (C,)), key)
    seen = quarantined(with_pools(fleet(((A, B), (A, B), (A,), (A,)), bots, key), C), A)
    seen = after(seen, step(seen, wanted, budget_bots=5))
    assert routes_of(seen).shards[2:] == ((C,), (C,))
    assert all(A not in row and row for row in routes_of(seen).shards)
    for turn in range(1, 5):
        seen = after(seen, step(seen, wanted, budget_bots=5, now_s=NOW_S + turn * GRACE_S))
    assert routes_of(seen).shards == ((B, C), (B, C), (C,), (C,))


def test_a_quarantine_that_is_taken_back_lets_shards_come_again() -> None:
    """As any move does: warm first."""
    seen = quarantined(fleet(((A, B),) * SHARDS, BOTS), A)
    seen = after(seen, step(seen, placed(((B, C),) * SHARDS)))
    seen = quarantined(seen)
    seen = after(seen, step(seen, placed(((A, B),) * SHARDS)))
    assert routes_of(seen).shards == ((B,),) * SHARDS
    assert begun(seen) == {0, 1, 2, 3}
    seen = after(warm(seen, A), step(warm(seen, A), placed(((A, B),) * SHARDS)))
    assert routes_of(seen).shards == ((A, B),) * SHARDS


def test_the_invariant_sees_a_quarantined_pool_that_is_routed() -> None:
    """Beside another, or newly."""
    both, alone = fleet(((A, B),) * SHARDS, BOTS).table, fleet(((A,),) * SHARDS, BOTS).table
    assert both is not None
    assert alone is not None
    bad = frozenset({A})
    next_epoch = replace(both, epoch=Epoch(both.epoch + 1))
    assert any("quarantined" in text for text in check_step(both, next_epoch, bad))
    assert check_step(both, next_epoch) == []
    assert check_step(alone, replace(alone, epoch=Epoch(alone.epoch + 1)), bad) == []
