"""Routing table and catalog as the data path sees them: held in memory, swapped whole, the last good ones kept.

Nothing here waits. `Routes` is read by every request and written by `following.Following` when the store has
something new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from botshard.sharding.catalog import Bot
from botshard.sharding.hashing import bot_hash, family_id
from botshard.sharding.ids import BotId, FamilyId, TenantId, VersionNumber
from botshard.sharding.routing import PoolRoute, RoutingTable

__all__ = ["BotRoute", "Routes"]


class BotRoute(NamedTuple):
    """What routing needs of one bot, computed once when its catalog entry comes."""

    family: FamilyId
    bot_hash: int
    version: VersionNumber
    """The version that the rollout names now."""
    tenant: TenantId


class Routes:
    """The table in force and the bots that are served; retired bots are as unknown as any other name."""

    __slots__ = ("_families", "bots", "has_catalog", "table")

    def __init__(self) -> None:
        self.table: RoutingTable | None = None
        self.bots: dict[str, BotRoute] = {}
        self.has_catalog = False
        """Whether a catalog was read, be it an empty one."""
        self._families: dict[FamilyId, FamilyId] = {}

    @property
    def ready(self) -> bool:
        """Whether requests can be routed."""
        return self.table is not None and self.has_catalog

    def pools(self, bot: BotRoute, /) -> tuple[PoolRoute, ...]:
        """The bot's pools in the table's order; empty where there are none (yet)."""
        return () if self.table is None else self.table.lookup(bot.family, bot.bot_hash)

    def take_bots(self, changed: Iterable[BotId], bots: Mapping[BotId, Bot], /) -> int:
        """Take up the entries of `changed` bots; returns how many of these are served differently from before."""
        differences = 0
        for bot_id in changed:
            bot = bots.get(bot_id)
            route = None if bot is None or bot.retired else self._route_of(bot)
            if route == self.bots.get(bot_id):
                continue
            differences += 1
            if route is None:
                del self.bots[bot_id]
            else:
                self.bots[bot_id] = route
        return differences

    def _route_of(self, bot: Bot) -> BotRoute:
        version = bot.serving
        family = family_id(version.family_key)
        # One string a family, not one a bot.
        family = self._families.setdefault(family, family)
        return BotRoute(family, bot_hash(bot.id), version.number, bot.tenant)
