"""One family's shards on their way: what of each is done in one step of a plan.

Each shard's step is decided from its own row of the table; only the turns (`budget.Turns`) look at all of them. Rows in
which nothing is to happen are not looked at, so that a step costs what moves, not what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from botshard.sharding.budget import Turns
from botshard.sharding.fleet import Snapshot
from botshard.sharding.ids import Epoch, PoolName, ShardIndex
from botshard.sharding.loads import BotLoads
from botshard.sharding.losses import Loss, Losses
from botshard.sharding.placement import FamilyPlacement
from botshard.sharding.routing import FamilyRoutes, Linger, Target
from botshard.sharding.weights import capacity_of

__all__ = ["FamilyStep", "StepTime", "split_routes"]

_PLANNED = Epoch(0)
_MOST_SENTENCES = 10
"""Of one kind and family: what they say of shards is alike, and the status is read by people."""

Pools = tuple[PoolName, ...]


@dataclass(frozen=True, slots=True)
class StepTime:
    """When a step is made, and what it is bound by."""

    epoch: Epoch
    """Of the table that it leads to."""
    now_s: float
    """Seconds since 1970."""
    grace_s: float
    budget_bots: int


@dataclass(frozen=True, slots=True)
class _Waiter:
    """A shard that may not move before its turn comes."""

    wanted: Pools
    incoming: Pools
    """Those of them that it is not routed to."""


class FamilyStep:
    """One family's next step. Lives for one call of `plan`."""

    def __init__(self, snapshot: Snapshot, wanted: FamilyPlacement, time: StepTime, /) -> None:
        self.waiting: list[str] = []
        """What the next step waits for, in sentences."""
        self.stuck: list[str] = []
        """Moves that were given up until a bot loads where it should go, in sentences; not in `waiting`."""
        self.moving = 0
        """Shards that were not where they should be before this step."""
        self._snapshot = snapshot
        self._realtime = snapshot.groups[wanted.key.group].realtime
        self._wanted = wanted
        self._time = time
        self._urls: dict[PoolName, str] = {}
        self._shards: list[Pools] = []
        self._targets: dict[ShardIndex, Target] = {}
        self._lingering: dict[ShardIndex, Linger] = {}
        self._cold: set[PoolName] = set()
        self._nowhere: set[PoolName] = set()
        self._waiters: dict[ShardIndex, _Waiter] = {}
        self._under_way: dict[ShardIndex, Sequence[PoolName]] = {}
        self._losses = Losses(snapshot, wanted.bits)

    def begin(self) -> FamilyRoutes | None:
        """The first routes of a family: there is nothing to break, so its pools only need URLs."""
        wanted = self._wanted
        urls = self._known_urls(wanted.pools, {})
        missing = [name for name in wanted.pools if name not in urls]
        if missing:
            self.waiting.append(f"family {wanted.id}: no URL yet of {self._with_reasons(missing)}")
            return None
        return FamilyRoutes(wanted.id, wanted.key, wanted.bits, urls, wanted.shards)

    def advance(self, published: FamilyRoutes) -> FamilyRoutes:
        """The routes after this step: `published` itself where nothing is to be done."""
        wanted = self._wanted
        self._urls = self._known_urls((*published.urls, *wanted.pools), published.urls)
        left_at_once = self._snapshot.quarantined.intersection(published.urls)
        routes = split_routes(published, wanted.bits)
        touched = _touched(routes, wanted, left_at_once)
        if not touched and self._urls == published.urls and published is routes and routes.named() == self._urls.keys():
            return published
        self._shards = list(routes.shards)
        for shard in touched:
            self._advance_shard(routes, shard, left_at_once)
        for shard in touched:
            self._linger(routes, shard)
        if self._waiters:
            self._take_turns(routes)
        self._tell()
        advanced = FamilyRoutes(
            routes.id, routes.key, routes.bits, self._urls, tuple(self._shards), self._targets, self._lingering
        )
        named = advanced.named()
        advanced = replace(advanced, urls={name: url for name, url in self._urls.items() if name in named})
        return published if advanced == published else advanced

    # ── one shard ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _advance_shard(self, routes: FamilyRoutes, shard: ShardIndex, left_at_once: frozenset[PoolName]) -> None:
        """What one shard is routed to, and its target; what has to wait for a turn becomes a waiter."""
        target = routes.targets.get(shard)
        was = routes.shards[shard]
        healthy = tuple(name for name in was if name not in left_at_once)
        wanted = tuple(name for name in self._wanted.shards[shard] if name not in left_at_once) or healthy or was
        since = target.since if target is not None and target.pools == wanted else _PLANNED
        routed = healthy or self._at_once(was, wanted, since)
        incoming = tuple(name for name in wanted if name not in routed)
        self.moving += set(was) != set(wanted)
        self._shards[shard] = routed
        if nowhere := [name for name in incoming if name not in self._urls]:
            self._nowhere.update(nowhere)
        elif not incoming:
            self._shards[shard] = wanted
        elif not self._realtime or since == _PLANNED:
            self._waiters[shard] = _Waiter(wanted, incoming)
        elif cold := [name for name in incoming if not self._is_warm(name, since)]:
            self._cold.update(cold)
            self._targets[shard] = Target(wanted, since)
            self._under_way[shard] = cold
        elif loss := self._losses.first(shard, served_by=routed, goes_to=incoming):
            self._targets[shard] = Target(wanted, since)
            self._note_loss(shard, loss)
        else:
            self._shards[shard] = wanted

    def _at_once(self, was: Pools, wanted: Pools, since: Epoch) -> Pools:
        """Where a shard goes whose pools are all quarantined: never nowhere, and to warm ones alone if any is."""
        reachable = tuple(name for name in wanted if name in self._urls)
        warm = tuple(name for name in reachable if since != _PLANNED and self._is_warm(name, since))
        return warm or reachable or was

    def _linger(self, routes: FamilyRoutes, shard: ShardIndex) -> None:
        """Keep what the shard leaves in this step, and what it left before, for its grace."""
        time, routed, before = self._time, self._shards[shard], routes.lingering.get(shard)
        left = tuple(name for name in routes.shards[shard] if name not in routed)
        pools, until_s = left, time.now_s + time.grace_s
        if before is not None and before.until_s > time.now_s:
            pools += tuple(name for name in before.pools if name not in routed and name not in left)
            # A clock that was set back must not keep a pool for hours.
            until_s = until_s if left else min(before.until_s, until_s)
        if pools:
            self._lingering[shard] = Linger(pools, until_s)

    def _is_warm(self, name: PoolName, since: Epoch) -> bool:
        return name in self._urls and self._snapshot.warmed.get(name, 0) >= since

    # ── turns ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take_turns(self, routes: FamilyRoutes) -> None:
        """Let shards go, the busiest first, as far as the budget of the pools that they come to goes.

        Realtime pools are charged for what they have not warmed yet. Others warm nothing: they are charged for the
        shards that linger elsewhere, since those came lately and are what they load now.
        """
        waiters, under_way = self._waiters, self._under_way
        if not self._realtime:
            under_way = {shard: self._shards[shard] for shard in self._lingering if shard not in waiters}
        capacity = capacity_of(self._snapshot.groups[routes.key.group])
        carried = BotLoads.of(self._snapshot.bots).families[routes.key].weighed(capacity).shards(routes.bits)
        turns = Turns(self._time.budget_bots)
        for shard, pools in under_way.items():
            turns.count(pools, carried[shard].bots)
        for shard in sorted(waiters, key=lambda shard: (-carried[shard].rate_milli_per_s, shard)):
            waiter = waiters[shard]
            if not turns.admit(waiter.incoming, carried[shard].bots):
                self._targets[shard] = Target(waiter.wanted, _PLANNED)
                continue
            del waiters[shard]
            if self._realtime:
                self._targets[shard] = Target(waiter.wanted, self._time.epoch)
                self._cold.update(waiter.incoming)
            else:
                self._shards[shard] = waiter.wanted
                self._linger(routes, shard)

    # ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tell(self) -> None:
        name, waiters = self._wanted.id, self._waiters
        if self._nowhere:
            self.waiting.append(f"family {name}: no URL yet of {self._with_reasons(self._nowhere)}")
        if self._cold:
            self.waiting.append(f"family {name}: not warm yet: {self._with_reasons(self._cold)}")
        if waiters:
            self.waiting.append(
                f"family {name}: {len(waiters)} of {self.moving} shards that move wait for their turn: at most "
                f"{self._time.budget_bots} bots come to a pool at the same time"
            )
        if self._lingering:
            self.waiting.append(f"family {name}: {len(self._lingering)} shards linger at pools they have left")
        self.stuck = list(_shortened(self.stuck, f"family {name}: {{}} more shards stay where they are"))

    def _note_loss(self, shard: ShardIndex, loss: Loss) -> None:
        stays = f"family {self._wanted.id}, shard {shard} stays where it is: bot {loss.bot} "
        if loss.reason is None:
            self.waiting.append(f"{stays}is still being loaded by {loss.pool}")
        else:
            self.stuck.append(f"{stays}cannot be loaded by {loss.pool}: {loss.reason}")

    def _with_reasons(self, names: Iterable[PoolName]) -> str:
        return ", ".join(self._with_reason(name) for name in sorted(names))

    def _with_reason(self, name: PoolName) -> str:
        status = self._snapshot.pools.get(name)
        return f"{name} ({status.message})" if status is not None and status.message else name

    def _known_urls(self, names: Pools, published: Mapping[PoolName, str]) -> dict[PoolName, str]:
        urls = {}
        for name in names:
            status = self._snapshot.pools.get(name)
            url = status.url if status is not None and status.url is not None else published.get(name)
            if url is not None:
                urls[name] = url
        return urls


def _touched(routes: FamilyRoutes, wanted: FamilyPlacement, left_at_once: frozenset[PoolName]) -> list[ShardIndex]:
    """Shards for which there may be something to do."""
    both = zip(routes.shards, wanted.shards, strict=True)
    touched = {index for index, (is_in, should_be_in) in enumerate(both) if is_in != should_be_in}
    touched.update(routes.targets, routes.lingering)
    if left_at_once:
        touched.update(index for index, pools in enumerate(routes.shards) if not left_at_once.isdisjoint(pools))
    return [ShardIndex(index) for index in sorted(touched)]


def _shortened(sentences: list[str], rest: str) -> Iterator[str]:
    yield from sentences[:_MOST_SENTENCES]
    if len(sentences) > _MOST_SENTENCES:
        yield rest.format(len(sentences) - _MOST_SENTENCES)


def split_routes(routes: FamilyRoutes, bits: int, /) -> FamilyRoutes:
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
