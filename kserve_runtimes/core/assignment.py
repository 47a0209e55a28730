"""Which bots are this pool's, from the routing table and the catalog. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias

from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.hashing import shard_of
from botshard.sharding.ids import BotId, Epoch, PoolName, ShardIndex
from botshard.sharding.routing import RoutingTable

__all__ = ["ELSEWHERE", "NO_EPOCH", "NO_TERRITORY", "Kept", "Territory", "View", "keep", "view_of"]


NO_EPOCH: Final = Epoch(0)
"""Before the first routing table."""

_OBJECT_BITS: Final = 8


class _Elsewhere(Enum):
    """The one thing that is kept of bots of other pools."""

    ELSEWHERE = "elsewhere"


ELSEWHERE: Final = _Elsewhere.ELSEWHERE
Kept: TypeAlias = Version | _Elsewhere
"""What a replica keeps of a bot: the version to serve of its own, of others that there are such."""


@dataclass(frozen=True, slots=True)
class Territory:
    """What a pool answers for under one table: some shards of one family."""

    key: FamilyKey | None
    """None: nothing."""
    bits: int
    shards: frozenset[ShardIndex]

    @classmethod
    def of(cls, table: RoutingTable | None, pool: PoolName, /) -> Territory:
        """Shards that are routed to the pool, that it warms, or that linger there."""
        route = table.pools.get(pool) if table is not None else None
        if table is None or route is None:
            return NO_TERRITORY
        family = table.families[route.family]
        every = map(ShardIndex, range(len(family.shards)))
        return cls(family.key, family.bits, frozenset(shard for shard in every if pool in family.answering(shard)))

    def holds(self, key: FamilyKey, hash_of_bot: int, /) -> bool:
        """Whether a bot is in it."""
        return key == self.key and shard_of(hash_of_bot, self.bits) in self.shards

    def objects(self) -> frozenset[int]:
        """Indices of the catalog objects that its bots are in: objects, too, are the first bits of a hash."""
        return frozenset(index for shard in self.shards for index in _objects_of(shard, self.bits))

    def objects_between(self, other: Territory, /) -> frozenset[int]:
        """Indices of the catalog objects with bots that are in one of the two and may not be in the other."""
        if (self.key, self.bits) != (other.key, other.bits):
            return self.objects() | other.objects()
        return replace(self, shards=self.shards ^ other.shards).objects()


def _objects_of(shard: ShardIndex, bits: int) -> range:
    if bits >= _OBJECT_BITS:
        index = shard >> (bits - _OBJECT_BITS)
        return range(index, index + 1)
    width = 1 << (_OBJECT_BITS - bits)
    return range(shard * width, (shard + 1) * width)


NO_TERRITORY: Final = Territory(None, 0, frozenset())


@dataclass(frozen=True, slots=True)
class View:
    """What this pool is to do, as of one reading of table and catalog."""

    epoch: Epoch = NO_EPOCH
    """0: no routing table was published yet."""
    realtime: bool = False
    request_timeout_s: float | None = None
    """None: the table does not know this pool's group."""
    cold_start_timeout_s: float = 0.0
    """How long a router may wait for a pool, or a bot, that is not there yet."""
    owned: Mapping[BotId, Version] = field(default_factory=lambda: MappingProxyType({}))
    """The pool's bots, each with the version to serve."""
    unread: frozenset[str] = frozenset()
    """Catalog objects that cannot be read although bots of this pool may be in them that are not in `owned`."""


def keep(territory: Territory, bot: Bot, hash_of_bot: int, /) -> Kept | None:
    """What a replica keeps of a catalog entry; nothing of a retired bot."""
    if bot.retired:
        return None
    serving = bot.serving
    return serving if territory.holds(serving.family_key, hash_of_bot) else ELSEWHERE


def view_of(
    table: RoutingTable | None, pool: PoolName, owned: Mapping[BotId, Version], /, *, unread: frozenset[str]
) -> View:
    """The view under a table."""
    if table is None:
        return View()
    route = table.pools.get(pool)
    group = table.groups.get(route.group) if route is not None else None
    return View(
        epoch=table.epoch,
        realtime=group.realtime if group is not None else False,
        request_timeout_s=group.request_timeout_s if group is not None else None,
        cold_start_timeout_s=group.cold_start_timeout_s if group is not None else 0.0,
        owned=owned,
        unread=unread,
    )
