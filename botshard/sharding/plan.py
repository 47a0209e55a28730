"""From what is to what should be, one step at a time, make before break.

`plan` is asked again and again with a fresh snapshot and says what to do now. How far each move has come stands in the
routing table itself (`routing.FamilyRoutes`), so a controller that dies between any two steps is followed by one that
goes on where it was:

1. The new pools of a shard must exist and have a URL. The shard's target is published: *planned*, until its turn comes.
2. Realtime: the move *begins*; the new pools *warm* (load the shard's bots) while the old ones serve.
3. When every replica of the new pools has warmed, and no bot would be lost, the shard is routed to them; the old ones
   *linger* and answer for routers that have not moved yet. A non-realtime shard skips step 2: its pool loads a bot when
   it is asked for it.
4. After the grace the old pools let go; a pool that no shard names any more is removed.

Quarantined pools leave the routed order at once, ahead of all this. `moves` says how each shard is advanced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from botshard.sharding.budget import BOTS_PER_POOL
from botshard.sharding.fleet import PoolSpec, Snapshot
from botshard.sharding.ids import Epoch, FamilyId, PoolName
from botshard.sharding.moves import FamilyStep, StepTime
from botshard.sharding.placement import FamilyPlacement, Placement
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in this order: ensure pools, publish the table, remove pools."""

    ensure: tuple[PoolSpec, ...]
    """Every pool that must exist, also those that do: making them so again changes nothing."""
    table: RoutingTable | None
    """To publish instead of the present one; None: that one stays."""
    remove: tuple[PoolName, ...]
    """Pools at home that no table names."""
    waiting: tuple[str, ...] = ()
    """What the next step waits for, one sentence each."""
    held: tuple[str, ...] = ()
    """Those of them that no time cures: placements that are refused until bots, groups or wishes change."""
    stuck: tuple[str, ...] = ()
    """Those of them that are moves given up until a bot loads where its shard should go."""
    moving: int = 0
    """Shards that are not where they should be, before this step."""

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to publish, remove or wait for, as long as nothing else changes."""
        return self.table is None and not self.remove and len(self.waiting) == len(self.held) + len(self.stuck)


def plan(
    snapshot: Snapshot,
    placement: Placement,
    /,
    *,
    now_s: float,
    grace_s: float,
    budget_bots: int = BOTS_PER_POOL,
) -> Plan:
    """The next step from `snapshot` towards `placement`.

    Args:
        snapshot: what is.
        placement: what should be (`placement.place(snapshot)`).
        now_s: seconds since 1970; only compared with the ends of graces.
        grace_s: how long a pool answers for shards that have left it.
        budget_bots: how many bots come to one pool at the same time.

    Cost: O(what moves); where nothing does, a comparison of what is with what should be.
    """
    present = snapshot.table
    time = StepTime(Epoch(present.epoch + 1 if present else 1), now_s, grace_s, budget_bots)
    steps: list[FamilyStep] = []
    families: dict[FamilyId, FamilyRoutes] = {}
    for name, wanted in placement.families.items():
        routes = present.families.get(name) if present else None
        step = FamilyStep(snapshot, wanted, time)
        advanced = step.begin() if routes is None else step.advance(routes)
        steps.append(step)
        if advanced is not None:
            families[name] = advanced
    groups = {
        name: GroupRoute(group.realtime, group.request_timeout_s, group.cold_start_timeout_s, group.policy)
        for name, group in snapshot.groups.items()
    }
    if present is not None and groups == present.groups and _are_same(families, present.families):
        table = present
    else:
        table = RoutingTable(time.epoch, groups, families)
    named = set(table.pools) | set(present.pools if present else ())
    ensure = _pools_to_ensure(snapshot, placement, table)
    keep = named | {spec.name for spec in ensure}
    held = tuple(placement.held[name] for name in sorted(placement.held))
    stuck = tuple(sentence for step in steps for sentence in step.stuck)
    return Plan(
        ensure=ensure,
        table=None if table is present else table,
        remove=tuple(sorted(name for name in snapshot.pools if name not in keep)),
        waiting=(*(sentence for step in steps for sentence in step.waiting), *stuck, *held),
        held=held,
        stuck=stuck,
        moving=sum(step.moving for step in steps),
    )


def _are_same(families: Mapping[FamilyId, FamilyRoutes], present: Mapping[FamilyId, FamilyRoutes]) -> bool:
    """Whether no family has changed: a step gives back the very routes that it has nothing to do with."""
    return families.keys() == present.keys() and all(routes is present[name] for name, routes in families.items())


def _pools_to_ensure(snapshot: Snapshot, placement: Placement, table: RoutingTable) -> tuple[PoolSpec, ...]:
    specs: dict[PoolName, PoolSpec] = {}

    def add(family: FamilyPlacement | FamilyRoutes, names: Iterable[PoolName]) -> None:
        group = snapshot.groups[family.key.group]
        specs.update((name, PoolSpec(name, family.id, family.key, group)) for name in names)

    for placed in placement.families.values():
        add(placed, placed.pools)
    for routed in table.families.values():
        add(routed, routed.urls)
    return tuple(specs[name] for name in sorted(specs))
