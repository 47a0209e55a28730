"""The bots of this replica: which are in memory, which are being loaded, which failed and why.

Lives on the event loop alone, so nothing here needs a lock; only `load` runs in threads. What makes it correct:

- *single flight*: an entry has at most one load under way, and everybody who needs the bot waits for that one;
- *pins*: a request holds the `Slot` it uses, so a swap or a drop never takes a model from under it;
- *swap*: a new version is loaded beside the old one and takes its place when it is resident; if it cannot be loaded
  the old one goes on serving and the failure is reported;
- *states* move by `botshard.sharding.residency.step` alone.

Bounding residents by bytes, with eviction, would decide in `_start` and use `_drop`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from botshard.logs import fields
from botshard.sharding.catalog import Version
from botshard.sharding.ids import BotId
from botshard.sharding.residency import Residency, ResidencyEvent, step
from kserve_runtimes.core.backlog import LoadBacklog
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.errors import LoadFailedError, UnknownBotError
from kserve_runtimes.core.failures import Failure, next_failure
from kserve_runtimes.core.metrics import Metrics

__all__ = ["Resident", "Residents", "Slot"]

log = logging.getLogger(__name__)


class BotLoad(Protocol):
    """Loads one version of a bot; blocks, and is called from threads."""

    def __call__(self, bot_id: BotId, version: Version, /) -> LoadedBot:
        """The bot. Raises: anything, which becomes the reason of a failure."""
        ...


@dataclass(slots=True, eq=False)
class Slot:
    """A loaded bot and how many requests use it."""

    bot: LoadedBot
    load_s: float = 0.0
    """How long it took to load."""
    pins: int = 0


@dataclass(slots=True, eq=False)
class Resident:
    """One bot of this replica."""

    id: BotId
    wanted: Version
    state: Residency = Residency.ABSENT
    slot: Slot | None = None
    """What serves now; after a publish, the old version until the new one is resident."""
    loading: asyncio.Task[None] | None = None
    failure: Failure | None = None
    """Of `wanted`; with a slot it means that an older version goes on serving."""
    stale: set[Slot] = field(default_factory=set)
    """Swapped out and still in use."""

    @property
    def settled(self) -> bool:
        """Whether it serves, or is known not to."""
        return self.slot is not None or self.failure is not None

    @property
    def needs_load(self) -> bool:
        """Whether the version that is wanted is not the one that serves."""
        return self.slot is None or self.slot.bot.version.number != self.wanted.number


class Residents:
    """Every bot that this replica has, by id."""

    def __init__(self, load: BotLoad, *, executor: Executor, loaders: int, metrics: Metrics) -> None:
        self._load = load
        self._executor = executor
        self._metrics = metrics
        self._entries: dict[BotId, Resident] = {}
        self._leaving: set[Resident] = set()
        self._eager = False
        self._backlog = LoadBacklog(self._start_next, loaders=loaders)
        self.on_change: Callable[[], None] = lambda: None
        """Called when readiness, a failure or a version that serves changed."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._entries.values())

    def get(self, bot_id: BotId, /) -> Resident | None:
        """The bot's entry, if it is this replica's."""
        return self._entries.get(bot_id)

    @property
    def leaving(self) -> frozenset[Resident]:
        """Bots that are no longer this replica's and still answer what they had."""
        return frozenset(self._leaving)

    @property
    def footprint_bytes(self) -> int:
        """Measured bytes of everything in memory, what drains included."""
        return sum(slot.bot.footprint_bytes for slot in self._slots())

    def settled(self) -> bool:
        """Whether every bot that must be resident is, or failed."""
        return not self._eager or all(entry.settled for entry in self._entries.values())

    def counts(self) -> dict[Residency, int]:
        """Bots in each state, those that leave included."""
        found = dict.fromkeys(Residency, 0)
        for entry in (*self._entries.values(), *self._leaving):
            found[entry.state] += 1
        return found

    # ── what the pool is to have ──────────────────────────────────────────────────────────────────────────────────────

    def assign(self, owned: Mapping[BotId, Version], /, *, eager: bool, rates: Mapping[BotId, float]) -> None:
        """Make `owned` what this replica has: load what is new or changed, drop what is gone.

        Args:
            owned: bots and the version to serve of each.
            eager: load without waiting for a request (a realtime pool).
            rates: how much each bot is used; the most used load first.
        """
        self._eager = eager
        for bot_id in [bot_id for bot_id in self._entries if bot_id not in owned]:
            self._drop(self._entries.pop(bot_id))
        for bot_id, version in owned.items():
            entry = self._entries.get(bot_id)
            if entry is None:
                self._entries[bot_id] = Resident(bot_id, version)
            elif entry.wanted != version:
                entry.wanted, entry.failure = version, None
        self._backlog.order(
            [entry.id for entry in self._entries.values() if self._loads_unasked(entry)],
            key=lambda bot_id: -rates.get(bot_id, 0.0),
        )
        self._changed()

    def retry(self, now_s: float, /) -> None:
        """Load again what failed, has to be resident, and has waited long enough."""
        for entry in self._entries.values():
            if entry.failure is not None and entry.failure.retry_at_s <= now_s and self._loads_unasked(entry):
                self._backlog.add(entry.id)

    def _loads_unasked(self, entry: Resident) -> bool:
        if not entry.needs_load or entry.loading is not None:
            return False
        if entry.failure is not None and entry.failure.retry_at_s > self._now_s():
            return False
        # A version that changed is loaded in any pool: the old one answers until then.
        return self._eager or entry.slot is not None

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def pin(self, bot_id: BotId, /) -> Slot:
        """The bot to use, loaded if it is absent; give it back with `unpin`.

        Raises: UnknownBotError if it is not this replica's (any more), LoadFailedError.
        """
        entry = self._entries.get(bot_id)
        if entry is None:
            raise UnknownBotError(bot_id)
        if entry.slot is None:
            await self.ensure(entry)
            assert entry.slot is not None  # noqa: S101 - what `ensure` waits for
        entry.slot.pins += 1
        return entry.slot

    def unpin(self, bot_id: BotId, slot: Slot, /) -> None:
        """The request that held `slot` is over."""
        slot.pins -= 1
        if slot.pins:
            return
        entry = self._entries.get(bot_id)
        if entry is not None and slot in entry.stale:
            entry.stale.discard(slot)
            self._changed()
        for leaver in [leaver for leaver in self._leaving if leaver.id == bot_id]:
            self._settle_leaver(leaver)

    async def ensure(self, entry: Resident, /) -> None:
        """Wait until the bot serves. Many waiters cause one load.

        Raises: LoadFailedError; UnknownBotError if the bot leaves meanwhile.
        """
        while entry.slot is None:
            if self._entries.get(entry.id) is not entry:
                raise UnknownBotError(entry.id)
            if entry.loading is None:
                failure = entry.failure
                if failure is not None and failure.retry_at_s > self._now_s():
                    raise self._failed(entry, failure)
                self._start(entry)
            assert entry.loading is not None  # noqa: S101 - started above
            # One waiter that gives up must not end the load of the others.
            await asyncio.shield(entry.loading)

    def begin(self, entry: Resident, /) -> None:
        """Start loading an absent bot without waiting for it, unless it failed too recently."""
        failed_lately = entry.failure is not None and entry.failure.retry_at_s > self._now_s()
        if entry.slot is None and entry.loading is None and not failed_lately:
            self._start(entry)

    def evict(self, bot_id: BotId, /) -> None:
        """Take a bot out of memory; it stays this replica's and is loaded again when it is asked for."""
        entry = self._entries.get(bot_id)
        if entry is None:
            raise UnknownBotError(bot_id)
        self._entries[bot_id] = Resident(entry.id, entry.wanted)
        self._drop(entry)
        self._changed()

    def _failed(self, entry: Resident, failure: Failure) -> LoadFailedError:
        return LoadFailedError(entry.id, failure.reason, retry_after_s=max(failure.retry_at_s - self._now_s(), 0.0))

    # ── loads ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_next(self, bot_id: BotId) -> asyncio.Task[None] | None:
        entry = self._entries.get(bot_id)
        if entry is None or not self._loads_unasked(entry):
            return None
        self._start(entry)
        return entry.loading

    def _start(self, entry: Resident) -> None:
        if entry.slot is None:
            entry.state = step(entry.state, ResidencyEvent.LOAD)
        entry.loading = asyncio.get_running_loop().create_task(self._run_load(entry, entry.wanted))

    async def _run_load(self, entry: Resident, version: Version) -> None:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        try:
            bot = await loop.run_in_executor(self._executor, self._load, entry.id, version)
        except Exception as error:  # noqa: BLE001 - whatever a strange artifact raises is that bot's failure alone
            entry.loading = None
            self._note_failure(entry, version, error)
        else:
            entry.loading = None
            took_s = loop.time() - started_s
            self._metrics.loads.labels("loaded").inc()
            self._metrics.load_seconds.observe(took_s)
            log.debug(
                "bot loaded",
                extra=fields(bot=entry.id, version=version.number, bytes=bot.footprint_bytes, took_s=took_s),
            )
            self._install(entry, Slot(bot, took_s))
        if entry not in self._leaving and entry.wanted != version:
            self._backlog.add(entry.id)
        self._changed()

    def _install(self, entry: Resident, slot: Slot) -> None:
        if entry in self._leaving:
            entry.state = step(entry.state, ResidencyEvent.LOADED)
            self._settle_leaver(entry)
            return
        old = entry.slot
        entry.slot = slot
        if slot.bot.version.number == entry.wanted.number:
            entry.failure = None
        if old is None:
            entry.state = step(entry.state, ResidencyEvent.LOADED)
            return
        if old.pins:
            entry.stale.add(old)
        log.info("bot changed", extra=fields(bot=entry.id, version=slot.bot.version.number, was=old.bot.version.number))

    def _note_failure(self, entry: Resident, version: Version, error: Exception) -> None:
        self._metrics.loads.labels("failed").inc()
        if entry in self._leaving:
            if entry.state is Residency.DRAINING and entry.slot is None:
                entry.state = step(entry.state, ResidencyEvent.LOAD_FAILED)
            self._settle_leaver(entry)
            return
        if entry.slot is None:
            entry.state = step(entry.state, ResidencyEvent.LOAD_FAILED)
        failure = next_failure(entry.failure, version.number, error, now_s=self._now_s())
        if version == entry.wanted:
            entry.failure = failure
        log.warning(
            "bot cannot be loaded",
            extra=fields(bot=entry.id, version=version.number, attempt=failure.attempts, reason=failure.reason),
            exc_info=error if log.isEnabledFor(logging.DEBUG) else None,
        )

    # ── leaving ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drop(self, entry: Resident) -> None:
        """Let go of an entry that is no longer in the table of entries."""
        if entry.state is Residency.ABSENT:
            return
        if entry.state is Residency.FAILED:
            entry.state = step(entry.state, ResidencyEvent.FORGET)
            return
        entry.state = step(entry.state, ResidencyEvent.EVICT)
        self._leaving.add(entry)
        self._settle_leaver(entry)

    def _settle_leaver(self, entry: Resident) -> None:
        if entry.loading is not None or any(slot.pins for slot in self._slots_of(entry)):
            return
        if entry.state is Residency.DRAINING:
            entry.state = step(entry.state, ResidencyEvent.DRAINED)
        entry.slot = None
        entry.stale.clear()
        self._leaving.discard(entry)
        self._changed()

    @staticmethod
    def _slots_of(entry: Resident) -> Iterator[Slot]:
        if entry.slot is not None:
            yield entry.slot
        yield from entry.stale

    def _slots(self) -> Iterator[Slot]:
        for entry in (*self._entries.values(), *self._leaving):
            yield from self._slots_of(entry)

    def _changed(self) -> None:
        self.on_change()

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
