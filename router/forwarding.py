"""What the ways of all requests to pools share: the choice of a pool, and what the store is asked on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from botshard.sharding.ids import BotId, PoolName
from botshard.sharding.routing import GroupRoute, PoolRoute
from router.attempts import Cause
from router.errors import CatalogUnreadableError, NoPoolError, UnknownBotError
from router.following import Following
from router.heads import AnswerHead
from router.metrics import RouterCounts
from router.pools import Pools, PoolState
from router.select import policy_of, untried_first
from router.table import BotRoute, Routes

__all__ = ["Forwarding"]

_MAYBE_COLD_AFTER_S: Final = 5.0
"""A non-realtime pool that has not answered for so long may be at zero: its start is waited for."""
_PLACING_S: Final = 3.0
"""A controller sees a new bot within half a second, and a pool has an address a moment later. A bot that cannot be
placed costs its callers this wait before they are told so."""


class Forwarding:
    """See the module. What is a coroutine here is for requests that have to wait; all others come by without a task."""

    def __init__(self, routes: Routes, pools: Pools, following: Following, counts: RouterCounts) -> None:
        self.routes = routes
        self.loop = asyncio.get_running_loop()
        self._pools = pools
        self._following = following
        self._counts = counts

    @property
    def epoch(self) -> int:
        """Of the table in force; 0: there is none."""
        table = self.routes.table
        return 0 if table is None else table.epoch

    def group_of(self, bot: BotRoute, /) -> GroupRoute | None:
        """The pool group of a bot, as the table has it."""
        table = self.routes.table
        family = None if table is None else table.families.get(self.routes.family_of(bot))
        return None if table is None or family is None else table.groups[family.key.group]

    def choose(
        self, bot_id: str, routed: tuple[PoolRoute, ...], failed: Mapping[PoolName, int], /
    ) -> tuple[PoolState, float]:
        """The pool to try next, and the seconds that a request to it may take.

        Raises: NoPoolError.
        """
        table = self.routes.table
        if table is None or not routed:
            raise NoPoolError(f"bot {bot_id!r} has no pool yet", retry_after_s=1)
        group = table.groups[routed[0].group]
        order = policy_of(group)(routed, self._pools.outstanding)
        if failed:
            order = untried_first(order, failed)
        pool = self._pools[order[0].name]
        budget_s = group.request_timeout_s
        if not group.realtime and self.loop.time() - pool.answered_s > _MAYBE_COLD_AFTER_S:
            budget_s += group.cold_start_timeout_s
        return pool, budget_s

    def note_epoch(self, head: AnswerHead, /) -> None:
        """A pool that has a newer table than this router tells so by every answer."""
        table = self.routes.table
        if head.epoch and table is not None and head.epoch.isdigit() and int(head.epoch) > table.epoch:
            self.refresh()

    def refresh(self) -> None:
        """Somebody has a newer table: have it read."""
        self._following.refresh_table_soon()

    # ── what a request waits for ──────────────────────────────────────────────────────────────────────────────────────

    async def find(self, bot_id: str, /) -> BotRoute:
        """The route of a bot that is not known here.

        Raises: UnknownBotError, CatalogUnreadableError.
        """
        bot = await self._following.look_up(BotId(bot_id))
        if bot is None:
            raise UnknownBotError(f"bot {bot_id[:128]!r} does not exist")
        return bot

    async def placed(self, bot_id: str, bot: BotRoute, /) -> BotRoute:
        """A bot that was just published, or went to another family, gets a moment until it has pools."""
        until_s = self.loop.time() + _PLACING_S
        while not self.routes.pools(bot) and (left_s := until_s - self.loop.time()) > 0:
            await self._following.next_table(left_s)
            bot = self._known(bot_id, bot)
        return bot

    async def newest(self, bot_id: str, /) -> BotRoute | None:
        """The bot as the catalog has it now; None where it has none, or cannot be read."""
        try:
            return await self._following.look_up(BotId(bot_id))
        except CatalogUnreadableError:
            return None

    async def before_next_try(
        self, cause: Cause, pause_s: float, bot_id: str, bot: BotRoute, /, *, failed: PoolRoute
    ) -> BotRoute:
        """Look at the store where the table may be behind, and wait; the bot's route as it is then."""
        if cause is Cause.MISDIRECTED:
            self._counts.misdirected += 1
            await self._following.refresh_table()
            # The bot may have gone to another family, and its old pool knew that first.
            bot = await self.newest(bot_id) or self._known(bot_id, bot)
            if failed not in self.routes.pools(bot):
                return bot  # the table has moved on, and so does the request
            pause_s = max(pause_s, 0.1)
        elif cause is Cause.UNROUTED:
            await self._following.refresh_table()
        if pause_s:
            await asyncio.sleep(pause_s)
        return bot

    def _known(self, bot_id: str, bot: BotRoute) -> BotRoute:
        """The bot's route as it is now; the one that the request has where the bot is gone meanwhile."""
        route = self.routes.find(bot_id)
        return bot if route is None else route
