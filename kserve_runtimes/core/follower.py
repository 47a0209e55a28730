"""Follows routing table and catalog for one pool, in a thread of its own.

Everything that touches the store runs in that one thread, so the event loop never waits for a disk or a network, and
polls, refreshes for a single bot and the view that they lead to never overlap.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from botshard.logs import fields
from botshard.sharding.catalog import Bot, Version
from botshard.sharding.ids import BotId, Epoch, PoolName
from botshard.sharding.routing import RoutingTable
from botshard.store.base import ObjectStore
from botshard.store.catalog_follower import CatalogFollower
from botshard.store.layout import CATALOG_OBJECTS, catalog_key
from botshard.store.table import TableFollower
from kserve_runtimes.core.assignment import NO_TERRITORY, Kept, Territory, View, keep, view_of
from kserve_runtimes.core.metrics import Metrics

__all__ = ["Follower"]

log = logging.getLogger(__name__)

_TABLE_DOCUMENT: Final = "table"
_CATALOG_DOCUMENT: Final = "catalog"


class Follower:
    """Table and catalog as this pool sees them. Its methods block; call them on `executor`, one thread.

    Of the pool's bots the versions to serve are kept, of all others only that they exist. So where a table moves shards
    to or from this pool, their catalog objects are read again; a shard and an object are both the first bits of a hash.
    """

    def __init__(self, store: ObjectStore, /, *, pool: PoolName, metrics: Metrics) -> None:
        self._table = TableFollower(store)
        self._catalog: CatalogFollower[Kept] = CatalogFollower(store, keep=self._keep)
        self._territory = NO_TERRITORY
        self._moved: frozenset[int] = frozenset()
        """Catalog objects that are yet to be read again."""
        self._missed: frozenset[int] = frozenset()
        """Catalog objects that were refused when they were read again."""
        self._changed: set[BotId] = set()
        """Bots that the view does not tell of yet."""
        self._pool = pool
        self._metrics = metrics
        self._viewed: RoutingTable | None = None
        self._problems: dict[str, str] = {}
        self.view: View | None = None
        """None until the table was looked for once. Bots appear in it as the catalog is read."""
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
        return bot_id in self._catalog.bots

    @property
    def catalog_revision(self) -> int:
        """Of the catalog's head that was followed last. Does not block."""
        return self._catalog.revision

    def _keep(self, bot: Bot, hash_of_bot: int) -> Kept | None:
        return keep(self._territory, bot, hash_of_bot)

    def _advance(self, changed: frozenset[BotId]) -> View | None:
        self._changed |= changed
        table = self._table.table
        before = self.view
        if table is not self._viewed:
            self._move_to(Territory.of(table, self._pool))
        owned = self._owned(before)
        view = view_of(table, self._pool, owned, unread=self._unread())
        self._viewed = table
        self._changed.clear()
        if view == before:
            return None
        self.view = view
        return view

    def _move_to(self, territory: Territory) -> None:
        """Read what bots there are in shards that have come or gone. An error leaves the rest to the next call."""
        self._moved |= self._territory.objects_between(territory)
        self._territory = territory
        names = {index: CATALOG_OBJECTS[index] for index in sorted(self._moved)}
        self._changed |= self._catalog.read_again(names.values())
        problems = self._catalog.problems
        self._missed |= {index for index, name in names.items() if catalog_key(name) in problems}
        self._moved = frozenset()

    def _owned(self, before: View | None) -> Mapping[BotId, Version]:
        """The pool's bots: those of the view before, and what has changed."""
        if before is not None and not self._changed:
            return before.owned
        owned = {} if before is None else dict(before.owned)
        bots = self._catalog.bots
        for bot_id in self._changed:
            kept = bots.get(bot_id)
            if isinstance(kept, Version):
                owned[bot_id] = kept
            else:
                owned.pop(bot_id, None)
        return owned

    def _unread(self) -> frozenset[str]:
        problems, never_read = self._catalog.problems, self._catalog.unread
        self._missed = frozenset(index for index in self._missed if catalog_key(CATALOG_OBJECTS[index]) in problems)
        if not self._missed and not never_read:
            return frozenset()
        keys = {index: catalog_key(CATALOG_OBJECTS[index]) for index in self._territory.objects()}
        return frozenset(key for index, key in keys.items() if index in self._missed or key in never_read)

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
