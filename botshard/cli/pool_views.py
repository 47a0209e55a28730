"""Pools as people see them: what each serves, holds and costs. Pure: values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from botshard.cli.world import World
from botshard.sharding.catalog import Bot
from botshard.sharding.fleet import PoolStatus
from botshard.sharding.hashing import bot_hash, family_id, shard_of
from botshard.sharding.ids import FamilyId, PoolName, ShardIndex
from botshard.sharding.residency import Residency
from botshard.sharding.routing import FamilyRoutes
from botshard.store.reports import ReplicaReport

__all__ = ["FleetView", "PoolLine", "fleet_of"]


@dataclass(frozen=True, slots=True)
class PoolLine:
    """One pool."""

    pool: str
    group: str
    family: str
    framework: str
    backbone: str | None
    pin: str | None
    url: str | None
    phase: str | None
    """As the local stack sees it; None where that is not known."""
    message: str | None
    """Why it is so, where the local stack says why."""
    replicas: int
    ready_replicas: int
    shards: int
    """Shards that are routed to it."""
    warming_shards: int
    """Shards that are on their way to it: it loads them."""
    planned_shards: int
    """Shards that will come to it when it is their turn."""
    lingering_shards: int
    """Shards that have left it and that it still answers for."""
    bots: int
    """Bots of its routed shards, retired ones not counted."""
    resident: int
    """Bots in memory, on the replica with most."""
    failed: int
    """Bots whose last load failed on some replica."""
    resident_bytes: int
    """Footprint of its bots, on the replica with most."""
    capacity_bytes: int | None
    """Bound on the footprint of its bots; None where that is not known."""
    base_bytes: int
    """Memory of all its replicas before their first bots."""
    rate_per_s: float
    in_flight: int
    leaving: str | None
    """`drained` or `quarantined`, where an operator wants it to be left."""


@dataclass(frozen=True, slots=True)
class FleetView:
    """All pools, and what stands in their way."""

    epoch: int | None
    """Of the routing table; None: there is none."""
    pools: tuple[PoolLine, ...]
    waiting: tuple[str, ...]
    """What the controller's next step waits for."""
    unplaced: int
    """Bots that the controller cannot place."""
    problems: Mapping[str, str]


def fleet_of(world: World, /) -> FleetView:
    """Every pool that the table names or the local stack runs, sorted by name."""
    table = world.table
    bots = _bots_by_shard(world.bots.values(), table.families if table else {})
    reports: dict[PoolName, list[ReplicaReport]] = {}
    for report in world.reports:
        if world.is_live(report):
            reports.setdefault(report.pool, []).append(report)
    routed = [
        _line(world, name, routes, bots.get(routes.id, Counter()), reports.get(name, []))
        for routes in (table.families.values() if table else ())
        for name in routes.urls
    ]
    unrouted = sorted(world.specs.keys() - {PoolName(line.pool) for line in routed})
    lines = routed + [_unrouted(world, name) for name in unrouted]
    return FleetView(
        epoch=table.epoch if table else None,
        pools=tuple(sorted(lines, key=lambda line: line.pool)),
        waiting=world.controller.waiting,
        unplaced=world.controller.refused_count,
        problems={**world.controller.problems, **world.problems},
    )


def _bots_by_shard(
    bots: Iterable[Bot], families: Mapping[FamilyId, FamilyRoutes]
) -> dict[FamilyId, Counter[ShardIndex]]:
    counts: dict[FamilyId, Counter[ShardIndex]] = {}
    for bot in bots:
        family = family_id(bot.serving.family_key)
        if family in families and not bot.retired:
            counts.setdefault(family, Counter())[shard_of(bot_hash(bot.id), families[family].bits)] += 1
    return counts


def _line(
    world: World, name: PoolName, routes: FamilyRoutes, bots: Counter[ShardIndex], reports: list[ReplicaReport]
) -> PoolLine:
    shards = [ShardIndex(index) for index, pools in enumerate(routes.shards) if name in pools]
    status, spec = _status(world, name), world.specs.get(name)
    coming = [
        target for shard, target in routes.targets.items() if name in target.pools and name not in routes.shards[shard]
    ]
    failed = {bot_id for report in reports for bot_id, bot in report.bots.items() if bot.state is Residency.FAILED}
    return PoolLine(
        pool=name,
        group=routes.key.group,
        family=routes.id,
        framework=routes.key.framework,
        backbone=routes.key.backbone,
        pin=routes.key.pin,
        url=routes.urls[name],
        phase=status.phase if status else None,
        message=(status.message or None) if status else None,
        replicas=status.replicas if status else len(reports),
        ready_replicas=status.ready_replicas if status else sum(report.ready for report in reports),
        shards=len(shards),
        warming_shards=sum(target.has_begun for target in coming),
        planned_shards=sum(not target.has_begun for target in coming),
        lingering_shards=sum(name in linger.pools for linger in routes.lingering.values()),
        bots=sum(bots[shard] for shard in shards),
        resident=max((_residents(report) for report in reports), default=0),
        failed=len(failed),
        resident_bytes=max((report.resident_bytes for report in reports), default=0),
        capacity_bytes=spec.group.pool_memory_bytes if spec else None,
        base_bytes=sum(report.base_rss_bytes for report in reports),
        rate_per_s=round(sum(bot.rate_per_s for report in reports for bot in report.bots.values()), 4),
        in_flight=sum(report.in_flight for report in reports),
        leaving=_leaving(world, name),
    )


def _unrouted(world: World, name: PoolName) -> PoolLine:
    """A pool that is made and that no table names yet (or any more)."""
    spec, status = world.specs[name], _status(world, name)
    return PoolLine(
        pool=name,
        group=spec.group.name,
        family=spec.family,
        framework=spec.key.framework,
        backbone=spec.key.backbone,
        pin=spec.key.pin,
        url=status.url if status else None,
        phase=status.phase if status else None,
        message=(status.message or None) if status else None,
        replicas=status.replicas if status else 0,
        ready_replicas=status.ready_replicas if status else 0,
        shards=0,
        warming_shards=0,
        planned_shards=0,
        lingering_shards=0,
        bots=0,
        resident=0,
        failed=0,
        resident_bytes=0,
        capacity_bytes=spec.group.pool_memory_bytes,
        base_bytes=0,
        rate_per_s=0.0,
        in_flight=0,
        leaving=_leaving(world, name),
    )


def _status(world: World, name: PoolName) -> PoolStatus | None:
    return world.statuses.get(name) if world.statuses is not None else None


def _leaving(world: World, name: PoolName) -> str | None:
    if name in world.intents.quarantine:
        return "quarantined"
    return "drained" if name in world.intents.drain else None


def _residents(report: ReplicaReport) -> int:
    return sum(bot.state in (Residency.RESIDENT, Residency.DRAINING) for bot in report.bots.values())
