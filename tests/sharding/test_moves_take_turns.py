"""Only so many bots come to a pool at the same time, the busiest shards first; the others wait in the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from botshard.sharding.budget import Turns
from botshard.sharding.codec import decode_table, encode_table
from botshard.sharding.fleet import PoolPhase, PoolStatus
from botshard.sharding.ids import ShardIndex
from botshard.sharding.placement import FamilyPlacement
from tests.sharding.building import LAZY, TORCH, url_of
from tests.sharding.moving import (
    BITS,
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
    since,
    step,
    warm,
    with_pools,
)

TEN_EACH = dict.fromkeys(range(SHARDS), 10)
BUSIEST_LAST = {shard: float(shard) for shard in range(SHARDS)}
ALL_TO_B = placed(((B,),) * SHARDS)
LAZY_TORCH = replace(TORCH, group=LAZY)


def test_the_busiest_shards_go_first_and_the_others_follow_as_those_are_routed() -> None:
    """Two fit into the budget; what waits is planned in the table, and no pool answers for it yet."""
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of(TEN_EACH, rates=BUSIEST_LAST)), B)
    first = step(seen, ALL_TO_B, budget_bots=20)
    seen = after(seen, first)
    assert (begun(seen), planned(seen)) == ({3, 2}, {0, 1})
    assert routes_of(seen).answering(ShardIndex(1)) == (A,)
    assert first.moving == SHARDS
    assert any("2 of 4 shards that move wait for their turn: at most 20 bots" in text for text in first.waiting)

    assert step(seen, ALL_TO_B, budget_bots=20).table is None
    seen = after(warm(seen, B), step(warm(seen, B), ALL_TO_B, budget_bots=20))
    assert routes_of(seen).shards == ((A,), (A,), (B,), (B,))
    assert (begun(seen), planned(seen)) == ({0, 1}, set())
    assert since(seen, 0) == seen.table.epoch if seen.table else False
    last = step(warm(seen, B), ALL_TO_B, budget_bots=20)
    assert last.moving == 2
    assert routes_of(after(seen, last)).shards == ((B,),) * SHARDS


def test_what_is_planned_is_where_placement_goes_on_from() -> None:
    """Whoever plans next sees the whole move, also from the bytes of the table."""
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of(TEN_EACH)), B)
    seen = after(seen, step(seen, ALL_TO_B, budget_bots=10))
    assert seen.table is not None
    assert FamilyPlacement.of_routes(routes_of(seen)).shards == ((B,),) * SHARDS
    assert decode_table(encode_table(seen.table)) == seen.table


def test_a_shard_with_more_bots_than_the_budget_goes_alone() -> None:
    """And is not overtaken for ever by small ones that would always fit."""
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of({0: 50, 1: 5, 2: 5, 3: 5}, rates={1: 20.0, 0: 1.0})), B)
    seen = after(seen, step(seen, ALL_TO_B, budget_bots=20))
    assert begun(seen) == {1}
    seen = after(warm(seen, B), step(warm(seen, B), ALL_TO_B, budget_bots=20))
    assert begun(seen) == {0}
    seen = after(warm(seen, B), step(warm(seen, B), ALL_TO_B, budget_bots=20))
    assert begun(seen) == {2, 3}


def test_a_pool_that_never_warms_holds_up_only_what_comes_to_it() -> None:
    """Why is said as its home says it; shards for other pools go on, those without bots need no turn."""
    rows = ((C,), (C,), (B,), (C,))
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of({0: 10, 1: 10, 2: 10})), B, C)
    dead = PoolStatus(C, url_of(C), PoolPhase.DEGRADED, message="no such image")
    seen = replace(seen, pools={**seen.pools, C: dead})
    seen = after(seen, step(seen, placed(rows), budget_bots=10))
    assert (begun(seen), planned(seen)) == ({0, 2, 3}, {1})
    done = step(warm(seen, B), placed(rows), budget_bots=10)
    assert done.waiting[0].endswith(f"not warm yet: {C} (no such image)")
    seen = after(seen, done)
    assert routes_of(seen).shards == ((A,), (A,), (B,), (A,))
    assert (begun(seen), planned(seen)) == ({0, 3}, {1})


def test_moves_that_have_begun_stay_and_count() -> None:
    """Also where the budget has become smaller; and a split leaves both halves on their way."""
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of(TEN_EACH)), B)
    seen = after(seen, step(seen, ALL_TO_B, budget_bots=30))
    assert begun(seen) == {0, 1, 2}
    assert step(seen, ALL_TO_B, budget_bots=1).table is None
    (family,) = ALL_TO_B.families.values()
    finer = replace(ALL_TO_B, families={family.id: family.split_to(BITS + 1)})
    seen = after(seen, step(seen, finer, budget_bots=30))
    assert (begun(seen), planned(seen)) == ({0, 1, 2, 3, 4, 5}, {6, 7})


def test_a_new_family_takes_no_turns() -> None:
    """Nobody is served by it yet, so there is nothing to spare."""
    seen = with_pools(replace(fleet(((A,),) * SHARDS, bots_of(TEN_EACH)), table=None, warmed={}), A)
    table = step(seen, placed(((A,),) * SHARDS), budget_bots=1).table
    assert table is not None
    assert [family.shards for family in table.families.values()] == [((A,),) * SHARDS]


def test_shards_that_warm_nothing_come_by_budget_and_grace() -> None:
    """A pool that loads on demand gets so many bots a grace: what came is what still lingers elsewhere."""
    wanted = placed(((B,),) * SHARDS, LAZY_TORCH)
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of(TEN_EACH, rates=BUSIEST_LAST, key=LAZY_TORCH), LAZY_TORCH), B)
    now_s = NOW_S
    for routed in (((A,), (A,), (B,), (B,)), ((B,),) * SHARDS):
        seen = after(seen, step(seen, wanted, budget_bots=20, now_s=now_s))
        assert routes_of(seen).shards == routed
        assert step(seen, wanted, budget_bots=20, now_s=now_s + GRACE_S - 1).table is None
        now_s += GRACE_S
    assert step(after(seen, step(seen, wanted, now_s=now_s)), wanted, now_s=now_s).remove == (A,)


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0], ids=["forward", "back"])
def test_a_clock_that_jumps_ends_no_turn_for_ever(jump_s: float) -> None:
    """Forward, graces end at once; back, they last one more grace at most. Who waits goes on either way."""
    wanted = placed(((B,),) * SHARDS, LAZY_TORCH)
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of(TEN_EACH, key=LAZY_TORCH), LAZY_TORCH), B)
    seen = after(seen, step(seen, wanted, budget_bots=20))
    jumped_s = NOW_S + jump_s
    seen = after(seen, step(seen, wanted, budget_bots=20, now_s=jumped_s))
    seen = after(seen, step(seen, wanted, budget_bots=20, now_s=jumped_s + GRACE_S))
    assert routes_of(seen).shards == ((B,),) * SHARDS


def test_nothing_to_do_gives_back_the_very_table() -> None:
    """No row is built anew; `table` is None, and nothing is waited for."""
    seen = fleet(((A,), (B,), (C,), (D,)), bots_of(TEN_EACH))
    done = step(seen, placed(((A,), (B,), (C,), (D,))))
    assert (done.table, done.moving, done.is_settled) == (None, 0, True)


def test_pools_that_wait_for_each_other_do_not_close_others() -> None:
    """A shard that one of its pools has no room for leaves its other pool open."""
    turns = Turns(10)
    turns.count([A], 10)
    assert not turns.admit([A, B], 5)
    assert turns.admit([B], 10)
    assert not turns.admit([A], 1)
    assert turns.admit([A, B], 0)
