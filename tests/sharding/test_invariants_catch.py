"""The invariants that other tests lean on see what is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from botshard.sharding.fleet import Snapshot
from botshard.sharding.ids import Epoch, PoolName, ShardIndex
from botshard.sharding.invariants import check_placement, check_step, check_table
from botshard.sharding.placement import FamilyPlacement, Placement, place
from botshard.sharding.routing import FamilyRoutes, RoutingTable, Target
from tests.sharding.building import MIB, REALTIME, TORCH, group, load, loads, only_family, published, snapshot

SEEN = snapshot(loads(150))
TABLE = published(place(SEEN), SEEN)
(FAMILY,) = TABLE.families.values()


def with_family(family: FamilyRoutes, *, epoch: int = 1) -> RoutingTable:
    """The table with another family."""
    return replace(TABLE, epoch=Epoch(epoch), families={family.id: family})


NOWHERE = Target((PoolName("nowhere"),), Epoch(1))
BROKEN_TABLES = {
    "a row too few": (with_family(replace(FAMILY, shards=FAMILY.shards[1:])), "shards with"),
    "an empty row": (with_family(replace(FAMILY, shards=((), *FAMILY.shards[1:]))), "shard 0 is routed to ()"),
    "a pool twice": (with_family(replace(FAMILY, shards=(FAMILY.shards[0] * 2, *FAMILY.shards[1:]))), "is routed to"),
    "no group": (replace(TABLE, groups={}), "its group realtime"),
    "no URL": (with_family(replace(FAMILY, targets={ShardIndex(3): NOWHERE})), "shard 3 names pools without a URL"),
}


@pytest.mark.parametrize(("table", "words"), BROKEN_TABLES.values(), ids=BROKEN_TABLES)
def test_a_broken_table_is_told(table: RoutingTable, words: str) -> None:
    """One sentence for what is wrong, none for a table that is whole."""
    assert check_table(TABLE) == []
    assert any(words in sentence for sentence in check_table(table))


def test_a_placement_over_capacity_or_short_of_pools_is_told() -> None:
    """Each of the promises, once broken."""
    placed = only_family(place(SEEN))

    def told(family: FamilyPlacement, seen: Snapshot = SEEN) -> str:
        return "; ".join(check_placement(Placement({family.id: family}), seen))

    assert told(placed) == ""
    everywhere = replace(placed, shards=(placed.pools[:1],) * len(placed.shards))
    assert "carries Weight" in told(everywhere)
    assert "has 1 pools, not 2" in told(placed, replace(SEEN, groups={REALTIME: group(shard_replicas=2)}))
    assert "pools that are drained" in told(placed, replace(SEEN, leaving=frozenset(placed.pools[:1])))
    assert "at least 9 are wanted" in told(placed, replace(SEEN, more_pools={placed.id: 9}))
    held = Placement({placed.id: everywhere}, held={placed.id: "it stays"})
    assert check_placement(held, SEEN) == []
    stranger = load("stranger", replace(TORCH, pin="vip"), footprint_bytes=MIB)
    assert "stranger: not placed" in told(placed, replace(SEEN, bots=(*SEEN.bots, stranger)))


def _moved_at_once(family: FamilyRoutes) -> FamilyRoutes:
    first, *rest = family.shards
    other = next(name for name in family.urls if name not in first)
    return replace(family, shards=((other,), *rest))


BROKEN_STEPS: dict[str, tuple[Callable[[], RoutingTable], str]] = {
    "an epoch left out": (lambda: with_family(FAMILY, epoch=3), "epoch 1 is followed by 3"),
    "a move at once": (lambda: with_family(_moved_at_once(FAMILY), epoch=2), "stopped answering at once"),
}


@pytest.mark.parametrize(("make", "words"), BROKEN_STEPS.values(), ids=BROKEN_STEPS)
def test_a_broken_step_is_told(make: Callable[[], RoutingTable], words: str) -> None:
    """A pool that routers of the epoch before ask must still answer."""
    assert check_step(TABLE, with_family(FAMILY, epoch=2)) == []
    assert any(words in sentence for sentence in check_step(TABLE, make()))


def test_a_family_that_is_gone_breaks_nothing() -> None:
    """Its last bot was retired."""
    assert check_step(TABLE, replace(TABLE, epoch=Epoch(2), families={})) == []
