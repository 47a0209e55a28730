"""Which bots are this pool's, from the routing table and the catalog. Pure; about two microseconds a bot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from botshard.sharding.catalog import Bot, Version
from botshard.sharding.hashing import bot_hash, family_id
from botshard.sharding.ids import BotId, Epoch, PoolName
from botshard.sharding.routing import RoutingTable

__all__ = ["NO_EPOCH", "View", "owned_version", "view_of", "with_changes"]


NO_EPOCH: Final = Epoch(0)
"""Before the first routing table."""


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


def owned_version(table: RoutingTable, pool: PoolName, bot: Bot, /) -> Version | None:
    """The version of `bot` that `pool` serves; None if the bot is retired or not the pool's."""
    if bot.retired:
        return None
    route = table.pools.get(pool)
    if route is None:
        return None
    serving = bot.serving
    family = family_id(serving.family_key)
    if family != route.family or not table.owns(pool, family, bot_hash(bot.id)):
        return None
    return serving


def view_of(table: RoutingTable | None, pool: PoolName, bots: Iterable[Bot], /) -> View:
    """The view, computed afresh."""
    if table is None:
        return View()
    owned = {bot.id: version for bot in bots if (version := owned_version(table, pool, bot)) is not None}
    route = table.pools.get(pool)
    group = table.groups.get(route.group) if route is not None else None
    return View(
        epoch=table.epoch,
        realtime=group.realtime if group is not None else False,
        request_timeout_s=group.request_timeout_s if group is not None else None,
        cold_start_timeout_s=group.cold_start_timeout_s if group is not None else 0.0,
        owned=owned,
    )


def with_changes(
    view: View,
    table: RoutingTable,
    pool: PoolName,
    changed: Mapping[BotId, Bot | None],
    /,
) -> View:
    """`view` after some bots of the catalog changed (None: the entry is gone), under the same table.

    Cost: one copy of the mapping and the changed bots, not the whole catalog.
    """
    owned = dict(view.owned)
    for bot_id, bot in changed.items():
        version = None if bot is None else owned_version(table, pool, bot)
        if version is None:
            owned.pop(bot_id, None)
        else:
            owned[bot_id] = version
    return replace(view, owned=owned)
