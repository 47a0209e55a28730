"""Routing table and catalog as the data path sees them: held in memory, swapped whole, the last good ones kept.

Nothing here waits. `Routes` is read by every request and written by `following.Following` when the store has
something new.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple, NewType

from botshard.sharding.bot_map import BotMap
from botshard.sharding.catalog import Bot, FamilyKey
from botshard.sharding.hashing import HASH_BITS, family_id
from botshard.sharding.ids import FamilyId, TenantId, VersionNumber
from botshard.sharding.routing import PoolRoute, RoutingTable

__all__ = ["BotRoute", "Routes", "Served", "ServedBots", "TenantTag", "hash_of", "is_of", "tag_of"]

BotRoute = NewType("BotRoute", int)
"""What routing needs of one bot, in one number: the bot's hash, and above it which `Served` it is.

As an object with two fields it would take four times the memory, which routers need for every bot there is. Where
tenants are told apart, the tag of its tenant stands between the two: the number then has six digits instead of three,
for which Python takes the same 48 bytes."""

TenantTag = NewType("TenantTag", int)
"""80 bits of a tenant's id: enough to tell any two apart, and no table of tenants is needed to read them."""

_HASH_MASK = (1 << HASH_BITS) - 1
_TAG_BITS: Final = 80
_TAG_MASK = (1 << _TAG_BITS) - 1


def tag_of(tenant: TenantId, /) -> TenantTag:
    """The tag of a tenant."""
    digest = blake2b(tenant.encode(), digest_size=_TAG_BITS // 8, person=b"botshard-tenant").digest()
    return TenantTag(int.from_bytes(digest, "big"))


class Served(NamedTuple):
    """What all bots of a family have in common that serve the same version number."""

    key: FamilyKey
    family: FamilyId
    version: VersionNumber
    """The version that the rollout names now."""


class ServedBots:
    """Makes the routes of bots and reads them. Families times version numbers: there are few `Served`."""

    __slots__ = ("_has_tenants", "_index", "_served", "families", "shift")

    def __init__(self, *, tenants: bool = False) -> None:
        """`tenants`: routes say whose bot it is."""
        self._has_tenants = tenants
        self.shift = HASH_BITS + _TAG_BITS if tenants else HASH_BITS
        """Bits of a route below the index of its `Served`."""
        self.families: list[FamilyId] = []
        """The family of each `Served`, in the same order: every request asks for it."""
        self._served: list[Served] = []
        self._index: dict[tuple[FamilyKey, VersionNumber], int] = {}

    def keep(self, bot: Bot, hash_of_bot: int, /) -> BotRoute | None:
        """The route of a catalog entry; None for a retired bot, which is as unknown as any other name."""
        if bot.retired:
            return None
        version = bot.serving
        same = (version.family_key, version.number)
        index = self._index.get(same)
        if index is None:
            family = family_id(version.family_key)
            self.families.append(family)
            self._served.append(Served(version.family_key, family, version.number))
            index = self._index[same] = len(self._served) - 1
        if self._has_tenants:
            return BotRoute(index << self.shift | tag_of(bot.tenant) << HASH_BITS | hash_of_bot)
        return BotRoute(index << HASH_BITS | hash_of_bot)

    def of(self, route: BotRoute, /) -> Served:
        """What the bot serves."""
        return self._served[route >> self.shift]


def hash_of(route: BotRoute, /) -> int:
    """The bot's hash."""
    return route & _HASH_MASK


def is_of(route: BotRoute, tag: TenantTag, /) -> bool:
    """Whether the bot belongs to the tenant with this tag; only for routes that say whose bot it is."""
    return route >> HASH_BITS & _TAG_MASK == tag


class Routes:
    """The table in force and the bots that are served."""

    __slots__ = ("_families", "_shift", "bots", "has_catalog", "served", "table")

    def __init__(self, *, tenants: bool = False) -> None:
        """`tenants`: keep whose each bot is."""
        self.table: RoutingTable | None = None
        self.bots: BotMap[BotRoute] = BotMap()
        self.served = ServedBots(tenants=tenants)
        """What the routes in `bots` mean."""
        self._families = self.served.families
        self._shift = self.served.shift
        self.has_catalog = False
        """Whether a catalog was read, be it an empty one."""

    @property
    def ready(self) -> bool:
        """Whether requests can be routed."""
        return self.table is not None and self.has_catalog

    def find(self, bot_id: str, /) -> BotRoute | None:
        """The bot's route; None where it is not known or retired."""
        return self.bots.find(bot_id)

    def family_of(self, bot: BotRoute, /) -> FamilyId:
        """The bot's family."""
        return self._families[bot >> self._shift]

    def pools(self, bot: BotRoute, /) -> tuple[PoolRoute, ...]:
        """The bot's pools in the table's order; empty where there are none (yet)."""
        table = self.table
        return () if table is None else table.lookup(self._families[bot >> self._shift], bot & _HASH_MASK)
