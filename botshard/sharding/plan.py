"""From what is to what should be, one step at a time, make before break.

`plan` is asked again and again with a fresh snapshot and says what to do now. How far each move has come stands in the
routing table itself (`routing.FamilyRoutes`), so a controller that dies between any two steps is followed by one that
goes on where it was:

1. The new pools of a shard must exist and have a URL.
2. Realtime: the shard's target is published; its new pools *warm* (load its bots) while the old ones serve.
3. When every replica of the new pools has warmed, the shard is routed to them; the old ones *linger* and answer for
   routers that have not moved yet. A non-realtime shard skips step 2: its pool loads a bot when it is asked for it.
4. After the grace the old pools let go; a pool that no shard names any more is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from botshard.sharding.fleet import PoolSpec, Snapshot
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import Epoch, FamilyId, PoolName, ShardIndex
from botshard.sharding.placement import FamilyPlacement, Placement
from botshard.sharding.routing import FamilyRoutes, GroupRoute, Linger, RoutingTable, Target

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

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to publish, remove or wait for, as long as nothing else changes."""
        return self.table is None and not self.remove and len(self.waiting) == len(self.held)


def plan(snapshot: Snapshot, placement: Placement, /, *, now_s: float, grace_s: float) -> Plan:
    """The next step from `snapshot` towards `placement`.

    Args:
        snapshot: what is.
        placement: what should be (`placement.place(snapshot)`).
        now_s: seconds since 1970; only compared with the ends of graces.
        grace_s: how long a pool answers for shards that have left it.
    """
    present = snapshot.table
    epoch = Epoch(present.epoch + 1 if present else 1)
    waiting: list[str] = []
    families: dict[FamilyId, FamilyRoutes] = {}
    for name, wanted in placement.families.items():
        routes = present.families.get(name) if present else None
        step = _FamilyStep(snapshot, snapshot.groups[wanted.key.group], wanted, epoch, now_s, grace_s)
        advanced = step.begin() if routes is None else step.advance(routes)
        waiting += step.waiting
        if advanced is not None:
            families[name] = advanced
    groups = {
        name: GroupRoute(group.realtime, group.request_timeout_s, group.cold_start_timeout_s)
        for name, group in snapshot.groups.items()
    }
    table = RoutingTable(epoch, groups, families)
    if present is not None and (table.groups, table.families) == (present.groups, present.families):
        table = present
    named = set(table.pools) | set(present.pools if present else ())
    ensure = _pools_to_ensure(snapshot, placement, table)
    keep = named | {spec.name for spec in ensure}
    held = tuple(placement.held[name] for name in sorted(placement.held))
    return Plan(
        ensure=ensure,
        table=None if table is present else table,
        remove=tuple(sorted(name for name in snapshot.pools if name not in keep)),
        waiting=(*waiting, *held),
        held=held,
    )


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


@dataclass
class _FamilyStep:
    """One family's next step. Lives for one call of `plan`."""

    snapshot: Snapshot
    group: PoolGroupSpec
    wanted: FamilyPlacement
    epoch: Epoch
    now_s: float
    grace_s: float

    waiting: list[str] = field(default_factory=list)
    _unready: set[PoolName] = field(default_factory=set)

    def begin(self) -> FamilyRoutes | None:
        """The first routes of a family: there is nothing to break, so its pools only need URLs."""
        urls = self._urls(self.wanted.pools, {})
        missing = [name for name in self.wanted.pools if name not in urls]
        if missing:
            self.waiting.append(f"family {self.wanted.id}: no URL yet of {', '.join(missing)}")
            return None
        return FamilyRoutes(self.wanted.id, self.wanted.key, self.wanted.bits, urls, self.wanted.shards)

    def advance(self, published: FamilyRoutes) -> FamilyRoutes:
        """The routes after this step."""
        routes = _split(published, self.wanted.bits)
        urls = self._urls((*routes.urls, *self.wanted.pools), routes.urls)
        shards: list[tuple[PoolName, ...]] = []
        targets: dict[ShardIndex, Target] = {}
        lingering: dict[ShardIndex, Linger] = {}
        for shard in map(ShardIndex, range(len(routes.shards))):
            routed, target, linger = self._advance_shard(routes, shard, urls)
            shards.append(routed)
            if target is not None:
                targets[shard] = target
            if linger is not None:
                lingering[shard] = linger
        if self._unready:
            self.waiting.append(f"family {self.wanted.id}: not warm yet: {', '.join(sorted(self._unready))}")
        if lingering:
            self.waiting.append(f"family {self.wanted.id}: {len(lingering)} shards linger at pools they have left")
        advanced = FamilyRoutes(routes.id, routes.key, routes.bits, urls, tuple(shards), targets, lingering)
        named = {name for shard in map(ShardIndex, range(len(shards))) for name in advanced.answering(shard)}
        return replace(advanced, urls={name: url for name, url in urls.items() if name in named})

    def _advance_shard(
        self, routes: FamilyRoutes, shard: ShardIndex, urls: Mapping[PoolName, str]
    ) -> tuple[tuple[PoolName, ...], Target | None, Linger | None]:
        """Routed pools, target and lingering pools of one shard after this step."""
        routed, wanted = routes.shards[shard], self.wanted.shards[shard]
        since = self._since(routes.targets.get(shard), wanted)
        linger = self._still_lingering(routes.lingering.get(shard))
        blockers = self._blockers(wanted, routed, since, urls)
        self._unready |= blockers
        if blockers:
            return routed, Target(wanted, since) if all(name in urls for name in wanted) else None, linger
        left = tuple(name for name in routed if name not in wanted)
        stay = tuple(name for name in (linger.pools if linger else ()) if name not in wanted and name not in left)
        until_s = self.now_s + self.grace_s if left or linger is None else linger.until_s
        return wanted, None, Linger(left + stay, until_s) if left or stay else None

    def _since(self, target: Target | None, wanted: tuple[PoolName, ...]) -> Epoch:
        return target.since if target is not None and target.pools == wanted else self.epoch

    def _blockers(
        self, wanted: tuple[PoolName, ...], routed: tuple[PoolName, ...], since: Epoch, urls: Mapping[PoolName, str]
    ) -> set[PoolName]:
        """New pools of a shard that cannot take requests for it yet."""
        incoming = [name for name in wanted if name not in routed]
        if not self.group.realtime:
            return {name for name in incoming if name not in urls}
        return {name for name in incoming if name not in urls or self.snapshot.warmed.get(name, 0) < since}

    def _still_lingering(self, linger: Linger | None) -> Linger | None:
        if linger is None or linger.until_s <= self.now_s:
            return None
        # A clock that was set back must not keep a pool for hours.
        return Linger(linger.pools, min(linger.until_s, self.now_s + self.grace_s))

    def _urls(self, names: tuple[PoolName, ...], published: Mapping[PoolName, str]) -> dict[PoolName, str]:
        urls = {}
        for name in names:
            status = self.snapshot.pools.get(name)
            url = status.url if status is not None and status.url is not None else published.get(name)
            if url is not None:
                urls[name] = url
        return urls


def _split(routes: FamilyRoutes, bits: int) -> FamilyRoutes:
    """The same routes said with `bits` bits; nothing moves."""
    if bits <= routes.bits:
        return routes
    repeat = 1 << (bits - routes.bits)

    def children(shard: ShardIndex) -> range:
        return range(shard * repeat, (shard + 1) * repeat)

    return FamilyRoutes(
        routes.id,
        routes.key,
        bits,
        routes.urls,
        tuple(pools for pools in routes.shards for _ in range(repeat)),
        {ShardIndex(child): target for shard, target in routes.targets.items() for child in children(shard)},
        {ShardIndex(child): linger for shard, linger in routes.lingering.items() for child in children(shard)},
    )
