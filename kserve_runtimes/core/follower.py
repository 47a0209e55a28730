"""Follows routing table and catalog for one pool, in a thread of its own.

Everything that touches the store runs in that one thread, so the event loop never waits for a disk or a network, and
polls, refreshes for a single bot and the view that they lead to never overlap.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from botshard.logs import fields
from botshard.sharding.ids import BotId, Epoch, PoolName
from botshard.sharding.routing import RoutingTable
from botshard.store.catalog import CatalogFollower
from botshard.store.table import TableFollower
from kserve_runtimes.core.assignment import View, view_of, with_changes
from kserve_runtimes.core.metrics import Metrics

__all__ = ["Follower"]

log = logging.getLogger(__name__)

_TABLE_DOCUMENT: Final = "table"
_CATALOG_DOCUMENT: Final = "catalog"


class Follower:
    """Table and catalog as this pool sees them. Its methods block; call them on `executor`, one thread."""

    def __init__(self, table: TableFollower, catalog: CatalogFollower, /, *, pool: PoolName, metrics: Metrics) -> None:
        self._table = table
        self._catalog = catalog
        self._pool = pool
        self._metrics = metrics
        self._viewed: RoutingTable | None = None
        self._problems: dict[str, str] = {}
        self.view: View | None = None
        """None until the table was looked for once. Bots appear in it as the catalog is read."""
        self.is_whole = False
        """Whether the last poll left no catalog object of which there is not even a last good one."""
        self.executor = ThreadPoolExecutor(1, "follow")

    def begin(self) -> View | None:
        """The view as the table alone gives it: no bots yet, but `find` can add those that are asked for.

        A large catalog takes a second to read, and a pool that was woken has somebody waiting for one bot.

        Raises: StoreError.
        """
        self._table.refresh()
        return self._advance(frozenset())

    def poll(self) -> View | None:
        """A new view if anything of this pool changed, else None.

        Raises: StoreError; the view in force stays.
        """
        self._table.refresh()
        changed = self._catalog.refresh()
        self.is_whole = not self._catalog.unread
        self._tell_problems()
        return self._advance(changed)

    def find(self, bot_id: BotId, /) -> View | None:
        """As `poll`, but looks at one bot's catalog object only (a bot that is not known may be new).

        Raises: StoreError.
        """
        self._catalog.refresh_bot(bot_id)
        return self._advance(frozenset((bot_id,))) if self.view is not None else None

    def catch_up(self, epoch: Epoch, /) -> View | None:
        """As `poll`, but looks at the table only, and only if it is older than `epoch`.

        Raises: StoreError.
        """
        if self._viewed is None or self._viewed.epoch < epoch:
            self._table.refresh()
        return self._advance(frozenset()) if self.view is not None else None

    def knows(self, bot_id: BotId, /) -> bool:
        """Whether the catalog has the bot, and it is not retired. Does not block."""
        bot = self._catalog.bots.get(bot_id)
        return bot is not None and not bot.retired

    @property
    def catalog_revision(self) -> int:
        """Of the catalog's head that was followed last. Does not block."""
        return self._catalog.revision

    def _advance(self, changed: frozenset[BotId]) -> View | None:
        table = self._table.table
        before = self.view
        if before is None or table is None or table is not self._viewed:
            view = view_of(table, self._pool, self._catalog.bots.values())
        elif changed:
            bots = self._catalog.bots
            view = with_changes(before, table, self._pool, {bot_id: bots.get(bot_id) for bot_id in changed})
        else:
            return None
        self._viewed = table
        if view == before:
            return None
        self.view = view
        return view

    def _tell_problems(self) -> None:
        """Log each refused document once."""
        problems = dict(self._catalog.problems)
        if self._table.problem is not None:
            problems["table/current.json"] = self._table.problem
        for key, problem in problems.items():
            if self._problems.get(key) != problem:
                kind = _TABLE_DOCUMENT if key.startswith("table/") else _CATALOG_DOCUMENT
                self._metrics.refused.labels(kind).inc()
                log.warning("document refused, the last good one stays", extra=fields(key=key, problem=problem))
        self._problems = problems

    def close(self) -> None:
        """Poll no more; what is under way ends by itself."""
        self.executor.shutdown(wait=False, cancel_futures=True)
