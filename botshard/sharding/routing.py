"""The routing table: a placement as published. Immutable, versioned by its epoch, accepted or refused whole.

A family's shard has up to three sets of pools, which is what makes moves survive any crash (the table itself says how
far each move has come):

- `shards[i]`: routed. Routers send requests there, in this order.
- `targets[i].pools`: where shard i is going. Pools that are not routed yet *warm*: they load its bots. A target whose
  move has not begun is *planned*: it keeps its place among the moves, and nobody loads anything for it.
- `lingering[i].pools`: was routed before. Still answers requests of routers that have not moved, until its grace ends.

A lookup is one dictionary access, one shift and one index: see `benchmarks/lookup.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.groups import RoutePolicy
from botshard.sharding.hashing import HASH_BITS, shard_of
from botshard.sharding.ids import Epoch, FamilyId, GroupName, PoolName, ShardIndex

__all__ = ["FamilyRoutes", "GroupRoute", "Linger", "PoolRoute", "RoutingTable", "Target"]

_NO_POOLS: tuple[PoolRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupRoute:
    """What a router must know of a pool group."""

    realtime: bool
    request_timeout_s: float
    cold_start_timeout_s: float
    policy: RoutePolicy | None = None
    """By what routers choose among the pools of a shard; None: as `realtime` says."""

    @property
    def chosen_by(self) -> RoutePolicy:
        """The policy in force: realtime pools are all awake and share the load, of others as few as possible are."""
        if self.policy is not None:
            return self.policy
        return RoutePolicy.LEAST_OUTSTANDING if self.realtime else RoutePolicy.FIRST


@dataclass(frozen=True, slots=True)
class PoolRoute:
    """A pool as a router sees it."""

    name: PoolName
    url: str
    """Base URL without a trailing slash, `http://host[:port]`."""
    group: GroupName
    family: FamilyId


@dataclass(frozen=True, slots=True)
class Target:
    """Where a shard is going, and the epoch that let it go: a pool that has warmed up to it is ready for it."""

    pools: tuple[PoolName, ...]
    since: Epoch
    """0: planned; its turn has not come."""

    @property
    def has_begun(self) -> bool:
        """Whether its pools load the shard."""
        return self.since > 0


@dataclass(frozen=True, slots=True)
class Linger:
    """Pools that a shard has left, and until when they answer for it (seconds since 1970, the controller's clock)."""

    pools: tuple[PoolName, ...]
    until_s: float


@dataclass(frozen=True, slots=True)
class FamilyRoutes:
    """One family's part of the table."""

    id: FamilyId
    key: FamilyKey
    bits: int
    """Shards are the first `bits` bits of a bot's hash; there are 2^bits of them."""
    urls: Mapping[PoolName, str]
    """Every pool of the family, each with its base URL."""
    shards: tuple[tuple[PoolName, ...], ...]
    """Routed pools of each shard, best first; at least one a shard."""
    targets: Mapping[ShardIndex, Target] = field(default_factory=lambda: MappingProxyType({}))
    lingering: Mapping[ShardIndex, Linger] = field(default_factory=lambda: MappingProxyType({}))

    def answering(self, shard: ShardIndex, /) -> tuple[PoolName, ...]:
        """Pools that answer for `shard`: routed, then warming, then lingering. Those of a planned move do not yet."""
        names = list(self.shards[shard])
        target = self.targets.get(shard)
        if target is not None and target.has_begun:
            names += target.pools
        linger = self.lingering.get(shard)
        if linger is not None:
            names += linger.pools
        return tuple(dict.fromkeys(names))

    def named(self) -> set[PoolName]:
        """Every pool that some shard names, in whatever role."""
        names = set().union(*self.shards)
        names.update(*(target.pools for target in self.targets.values()))
        names.update(*(linger.pools for linger in self.lingering.values()))
        return names


_Lookup: TypeAlias = tuple[int, tuple[tuple[PoolRoute, ...], ...]]
"""How far to shift a bot's hash, and the pools of each shard."""


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """A placement as published."""

    epoch: Epoch
    groups: Mapping[GroupName, GroupRoute]
    families: Mapping[FamilyId, FamilyRoutes]
    pools: Mapping[PoolName, PoolRoute] = field(init=False, compare=False, repr=False)
    _lookup: Mapping[FamilyId, _Lookup] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        pools = {
            name: PoolRoute(name, url, family.key.group, family.id)
            for family in self.families.values()
            for name, url in family.urls.items()
        }
        lookup = {}
        for family in self.families.values():
            # Shards with equal pools share one tuple: a table of 500 pools stays small in memory.
            shared: dict[tuple[PoolName, ...], tuple[PoolRoute, ...]] = {}
            routes = tuple(shared.setdefault(names, tuple(pools[name] for name in names)) for names in family.shards)
            lookup[family.id] = (HASH_BITS - family.bits, routes)
        object.__setattr__(self, "pools", pools)
        object.__setattr__(self, "_lookup", lookup)

    def lookup(self, family: FamilyId, hash_of_bot: int, /) -> tuple[PoolRoute, ...]:
        """Pools that a request for the bot goes to, best first; empty where the family has no pool (yet)."""
        found = self._lookup.get(family)
        if found is None:
            return _NO_POOLS
        return found[1][hash_of_bot >> found[0]]

    def owns(self, pool: PoolName, family: FamilyId, hash_of_bot: int, /) -> bool:
        """Whether `pool` answers for the bot: routed there, warming or lingering."""
        routes = self.families.get(family)
        if routes is None:
            return False
        return pool in routes.answering(shard_of(hash_of_bot, routes.bits))

    def explain(self, family: FamilyId, hash_of_bot: int, /) -> tuple[ShardIndex, FamilyRoutes] | None:
        """Shard and family routes of a bot, for people; None where the family is not in the table."""
        routes = self.families.get(family)
        return None if routes is None else (shard_of(hash_of_bot, routes.bits), routes)
