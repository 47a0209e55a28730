"""Following the store: polls that cost next to nothing while nothing changes, and looks on demand.

Everything that blocks runs in a few threads of its own; what came is handed to `Routes` on the event loop. A store
that is away is said once in the log, and again when it is back; what was read before stays in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from botshard.logs import fields
from botshard.sharding.catalog import Bot
from botshard.sharding.errors import CallerError, InvalidDocumentError
from botshard.sharding.ids import BotId, Epoch
from botshard.store.base import StoreError
from botshard.store.catalog_follower import CatalogFollower
from botshard.store.table import TableFollower
from router.errors import CatalogUnreadableError
from router.metrics import RouterCounts
from router.pools import Pools
from router.table import BotRoute, Routes

__all__ = ["Followed", "Following"]

_T = TypeVar("_T")
_THREADS = 4  # a poll, a refresh after a 421, and looks for two catalog objects at once


class Followed(Protocol):
    """Something else that is followed: a document of the store, or files. Whoever uses it reads what it holds."""

    @property
    def key(self) -> str:
        """What the log calls it."""
        ...

    @property
    def problem(self) -> str | None:
        """Why what is there now is not in force."""
        ...

    def refresh(self) -> bool:
        """Look; True where something else is in force. Raises: StoreError."""
        ...


class Following:
    """Keeps routes and pools up to date with the store."""

    def __init__(
        self,
        routes: Routes,
        pools: Pools,
        *,
        table: TableFollower,
        catalog: CatalogFollower[BotRoute],
        counts: RouterCounts,
        poll_interval_s: float,
        besides: Sequence[Followed] = (),
    ) -> None:
        """`besides`: what else is looked at in each poll."""
        self._routes = routes
        self._pools = pools
        self._table = table
        self._catalog = catalog
        self._counts = counts
        self._poll_interval_s = poll_interval_s
        self._besides = besides
        self._taken: list[str] = []
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._log = logging.getLogger("router.following")
        self._refreshing: asyncio.Task[None] | None = None
        self._looks: dict[BotId, asyncio.Task[BotRoute | None]] = {}
        self._away = False
        self._refused: dict[str, str] = {}
        self._unusable: tuple[Epoch, str] | None = None  # a table that is well-formed and cannot be followed
        self._poller: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._table_came = asyncio.Event()

    @property
    def problems(self) -> dict[str, str]:
        """Why something in the store is not in force, by its key or `store`."""
        return dict(self._refused)

    async def tried(self) -> None:
        """Wait until the store was looked at once, whatever came of it."""
        await self._tried.wait()

    async def poll(self) -> None:
        """Look once at table and catalog. Never raises for what the store does."""
        changed, failure = await self._in_thread(self._look_at_all)
        self._swap_table()
        if failure is None:
            self._routes.has_catalog = True
        self._take_bots(changed)
        for key in self._taken:
            self._log.info("changes taken", extra=fields(document=key))
        self._note_store(failure)
        self._note_refusals()
        self._tried.set()

    def start(self) -> None:
        """Poll from now on, until `stop`."""
        self._poller = asyncio.create_task(self._poll_forever(), name="poll of the store")

    async def stop(self) -> None:
        """End all of it; calls that block in the store are left to their own time limits."""
        tasks = [task for task in (self._poller, self._refreshing, *self._looks.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def next_table(self, within_s: float, /) -> None:
        """Wait until another table is in force, for `within_s` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._table_came.wait()

    async def refresh_table(self) -> None:
        """Read the table now; one read, however many ask for it at the same time."""
        await asyncio.shield(self.refresh_table_soon())

    def refresh_table_soon(self) -> asyncio.Task[None]:
        """Have the table read, without waiting for it."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh_table(), name="refresh of the table")
        return self._refreshing

    async def look_up(self, bot_id: BotId, /) -> BotRoute | None:
        """A bot that is not in the catalog held here: whether the store has it by now.

        One look, however many ask; the follower bounds how often an object is really read.

        Raises: CatalogUnreadableError.
        """
        look = self._looks.get(bot_id)
        if look is None:
            look = self._looks[bot_id] = asyncio.create_task(self._look_up(bot_id), name="look for a bot")
            look.add_done_callback(lambda done: self._looked(bot_id, done))
        return await asyncio.shield(look)

    async def entry(self, bot_id: BotId, /) -> Bot | None:
        """The whole catalog entry, for people; None where there is none, or it cannot be read now."""
        try:
            return await self._in_thread(lambda: self._catalog.read_entry(bot_id))
        except (InvalidDocumentError, StoreError):
            return None

    def _looked(self, bot_id: BotId, look: asyncio.Task[BotRoute | None]) -> None:
        self._looks.pop(bot_id, None)
        if not look.cancelled():
            look.exception()  # those who wait get it; where nobody waits any more it is no news

    async def _look_up(self, bot_id: BotId) -> BotRoute | None:
        known = self._routes.find(bot_id) is not None
        try:
            await self._in_thread(lambda: self._catalog.refresh_bot(bot_id))
        except StoreError as error:
            self._counts.catalog_lookups["failed"] += 1
            raise CatalogUnreadableError(
                f"bot {bot_id!r} is not in the catalog as it was read last, and the store cannot be asked now: {error}",
                retry_after_s=1,
            ) from error
        self._take_bots({bot_id})
        found = self._routes.find(bot_id)
        self._counts.catalog_lookups["absent" if found is None else "found"] += 1
        if found is not None and not known:
            self._log.info(
                "bot found on request", extra=fields(bot=bot_id, version=self._routes.served.of(found).version)
            )
        return found

    async def _poll_forever(self) -> None:
        while True:
            try:
                await self.poll()
            except Exception:  # noqa: BLE001 - logged; the next poll is a new chance
                # A bug of ours in here must not leave the router with an old table for ever.
                self._log.exception("poll failed")
            await asyncio.sleep(self._poll_interval_s)

    async def _refresh_table(self) -> None:
        try:
            came = await self._in_thread(self._table.refresh)
        except StoreError as error:
            self._note_store(error)
            return
        if came:
            self._swap_table()
        self._note_refusals()

    def _look_at_all(self) -> tuple[frozenset[BotId], StoreError | None]:
        changed: frozenset[BotId] = frozenset()
        failure: StoreError | None = None
        try:
            self._table.refresh()
        except StoreError as error:
            failure = error
        try:
            changed = self._catalog.refresh()
        except StoreError as error:
            failure = error
        self._taken = []
        for followed in self._besides:
            try:
                if followed.refresh():
                    self._taken.append(followed.key)
            except StoreError as error:
                failure = error
            except Exception:  # noqa: BLE001 - what was read of table and catalog must not be lost for it
                self._log.exception("document cannot be followed", extra=fields(document=followed.key))
        return changed, failure

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _swap_table(self) -> None:
        table = self._table.table
        before = self._routes.table
        if table is None or table is before:
            return
        try:
            # Pools first: a request that reads the new table finds every pool of it.
            self._pools.follow(table.pools)
        except CallerError as error:
            self._unusable = (table.epoch, str(error))
            return
        self._unusable = None
        self._routes.table = table
        self._counts.swaps["table"] += 1
        event = fields(
            epoch=table.epoch,
            epoch_before=0 if before is None else before.epoch,
            pools=len(table.pools),
            families=len(table.families),
        )
        self._log.info("routing table taken", extra=event)
        self._table_came.set()
        self._table_came = asyncio.Event()

    def _take_bots(self, changed: frozenset[BotId] | set[BotId]) -> None:
        before, after = self._routes.bots, self._catalog.bots
        if not changed or after is before:
            return
        self._routes.bots = after
        self._counts.swaps["catalog"] += 1
        # Others of an object may have come with a bot that was looked up: they are no news any more.
        count = sum(before.get(bot_id) != after.get(bot_id) for bot_id in changed) if before else len(after)
        event = fields(changed=count, bots=len(after), revision=self._catalog.revision)
        self._log.info("catalog changes taken", extra=event)

    def _note_store(self, failure: StoreError | None) -> None:
        if failure is not None:
            self._counts.store_failures += 1
            self._refused["store"] = str(failure)
            if not self._away:
                self._log.warning("store away, what was read last stays in force", extra=fields(error=str(failure)))
        else:
            self._refused.pop("store", None)
            if self._away:
                self._log.info("store back")
        self._away = failure is not None

    def _note_refusals(self) -> None:
        found = dict(self._catalog.problems)
        if self._table.problem is not None:
            found["table"] = self._table.problem
        elif self._unusable is not None:
            found["table"] = f"epoch {self._unusable[0]}: {self._unusable[1]}"
        access = {followed.key: followed.problem for followed in self._besides if followed.problem is not None}
        found |= access
        for key, why in found.items():
            if self._refused.get(key) != why:
                self._counts.refusals["access" if key in access else "table" if key == "table" else "catalog"] += 1
                self._log.error("refused, the last good one stays in force", extra=fields(document=key, why=why))
        if self._away:
            found["store"] = self._refused["store"]
        self._refused = found
