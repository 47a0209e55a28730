"""The bots of this replica: which are in memory, which are being loaded, which failed and why.

Lives on the event loop alone, so nothing here needs a lock; only `load` runs in threads. What makes it correct:

- *single flight*: an entry has at most one load under way, and everybody who needs the bot waits for that one;
- *pins*: a request holds the `Slot` it uses, so a swap or a drop never takes a model from under it;
- *swap*: a new version is loaded beside the old one and takes its place when it is resident; if it cannot be loaded
  the old one goes on serving and the failure is reported;
- *room*: every slot has a claim on the replica's memory (`room.py`); where that is bounded, bots that nobody uses or
  waits for leave for those that are asked for;
- *states* move by `botshard.sharding.residency.step` alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from math import inf
from time import monotonic
from typing import Final

from botshard.logs import fields
from botshard.sharding.catalog import Version
from botshard.sharding.ids import BotId
from botshard.sharding.residency import Residency, ResidencyEvent, step
from kserve_runtimes.core.backlog import LoadBacklog
from kserve_runtimes.core.errors import LoadFailedError, NoRoomError, UnknownBotError
from kserve_runtimes.core.failures import Failure, next_failure
from kserve_runtimes.core.loads import Loads
from kserve_runtimes.core.metrics import Metrics
from kserve_runtimes.core.rates import EventRate
from kserve_runtimes.core.reclaim import Reclaim
from kserve_runtimes.core.resident import BotLoad, Resident, Slot
from kserve_runtimes.core.room import Claim, MemoryBounds, Room

__all__ = ["Residents"]

log = logging.getLogger(__name__)

_ANSWER_S: Final = 0.05
"""How long before its deadline a request that waits for room is told so."""


class Residents:
    """Every bot that this replica has, by id."""

    def __init__(
        self,
        load: BotLoad,
        *,
        executor: Executor,
        loaders: int,
        metrics: Metrics,
        memory: MemoryBounds = MemoryBounds(),  # noqa: B008 - a frozen value
    ) -> None:
        self._metrics = metrics
        self._entries: dict[BotId, Resident] = {}
        self._leaving: set[Resident] = set()
        self._eager = False
        self._memory = memory
        self._room = Room(
            memory.budget_bytes,
            may_leave=self._may_leave,
            evict=self._evict_for_room,
            on_left=Reclaim(executor, memory.budget_bytes).note,
        )
        self._backlog = LoadBacklog(self._start_next, loaders=loaders, on_idle=self._changed)
        self._loads = Loads(load, self._room, executor=executor, loaders=loaders)
        self._missed: set[BotId] = set()
        """Evicted for room and not loaded since."""
        self.reloads = EventRate()
        """Loads of bots that had left for the room of others."""
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
        return self._room.used_bytes

    def settled(self) -> bool:
        """Whether every bot that must be resident is, or failed; in bounded memory, those that fit."""
        if not self._eager or (self._room.is_bounded and self._backlog.is_idle):
            return True
        return all(entry.settled for entry in self._entries.values())

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
        bounded = self._memory.budget_bytes is not None and (self._memory.realtime_may_evict or not eager)
        self._room.is_bounded = bounded
        if bounded:
            self._room.keep.seed(rates)
        for bot_id in [bot_id for bot_id in self._entries if bot_id not in owned]:
            self._drop(self._entries.pop(bot_id))
            self._room.keep.forget(bot_id)
            self._missed.discard(bot_id)
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

    def tick(self, now_s: float, /) -> None:
        """Load again what failed, has to be resident, and has waited long enough; let go of what nobody asks for."""
        idle_after_s = None if self._eager else self._memory.idle_after_s
        for entry in list(self._entries.values()):
            if entry.failure is not None or entry.slot is not None:
                if self._loads_unasked(entry):
                    self._backlog.add(entry.id)
                elif idle_after_s is not None and now_s - entry.used_at_s > idle_after_s and self._may_leave(entry.id):
                    self._evict(entry, "idle")

    def _loads_unasked(self, entry: Resident) -> bool:
        if not entry.needs_load or entry.loading is not None:
            return False
        if entry.failure is not None and entry.failure.retry_at_s > self._now_s():
            return False
        # A version that changed is loaded in any pool: the old one answers until then.
        return self._eager or entry.slot is not None

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def pin(self, bot_id: BotId, /, *, deadline_s: float = inf) -> Slot:
        """The bot to use, loaded if it is absent; give it back with `unpin`.

        Raises: what `ensure` raises.
        """
        if self._room.is_bounded and bot_id in self._entries:
            self._room.keep.asked(bot_id)
        entry = await self.ensure(bot_id, deadline_s=deadline_s)
        assert entry.slot is not None  # noqa: S101 - what `ensure` waits for
        entry.slot.pins += 1
        return entry.slot

    def pin_now(self, entry: Resident, slot: Slot, /) -> None:
        """Use what serves; as `pin`, for a bot that is in memory."""
        if self._room.is_bounded:
            self._room.keep.asked(entry.id)
        slot.pins += 1

    def unpin(self, bot_id: BotId, slot: Slot, /) -> None:
        """The request that held `slot` is over."""
        slot.pins -= 1
        entry = self._entries.get(bot_id)
        if entry is not None:
            entry.used_at_s = self._now_s()
        if slot.pins:
            return
        self._room.look_again()
        if entry is not None and slot in entry.stale:
            entry.stale.discard(slot)
            self._room.release(slot.claim)
            self._changed()
        for leaver in [leaver for leaver in self._leaving if leaver.id == bot_id]:
            self._settle_leaver(leaver)

    async def ensure(self, bot_id: BotId, /, *, deadline_s: float = inf) -> Resident:
        """The bot's entry once it serves. Many waiters cause one load.

        Args:
            bot_id: whose.
            deadline_s: instant of the loop's clock at which a load that still waits for room is given up.

        Raises: UnknownBotError if it is not this replica's (any more), LoadFailedError, NoRoomError.
        """
        while True:
            entry = self._entries.get(bot_id)
            if entry is None:
                raise UnknownBotError(bot_id)
            if entry.slot is not None:
                return entry
            if entry.loading is None:
                failure = entry.failure
                if failure is not None and failure.retry_at_s > self._now_s():
                    raise self._failed(entry, failure)
                self._start(entry)
            entry.waiting += 1
            try:
                await self._wait(entry, deadline_s)
            finally:
                entry.waiting -= 1
                self._room.look_again()

    async def _wait(self, entry: Resident, deadline_s: float) -> None:
        loading = entry.loading
        assert loading is not None  # noqa: S101 - whoever waits has started it
        # Waiting ends none of it: one waiter that gives up must not end the load of the others.
        left_s = None if deadline_s == inf else max(deadline_s - _ANSWER_S - self._now_s(), 0.0)
        loaded, _ = await asyncio.wait((loading,), timeout=left_s)
        if loaded:
            return
        if self._room.has_waiters and not entry.has_room:
            raise NoRoomError(entry.id)
        await asyncio.wait((loading,))

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
        self._evict(entry, "unload")

    def _evict(self, entry: Resident, reason: str) -> None:
        self._entries[entry.id] = Resident(entry.id, entry.wanted, known_bytes=entry.known_bytes, costs=entry.costs)
        if entry.slot is not None:
            self._metrics.evictions.labels(reason).inc()
        self._drop(entry)
        self._changed()

    def _evict_for_room(self, bot_id: BotId) -> None:
        self._missed.add(bot_id)
        self._evict(self._entries[bot_id], "room")

    def _may_leave(self, bot_id: BotId) -> bool:
        """Whether the bot is in memory and nobody uses it, waits for it or loads it."""
        entry = self._entries.get(bot_id)
        return (
            entry is not None
            and entry.slot is not None
            and not (entry.slot.pins or entry.waiting or entry.stale)
            and entry.loading is None
        )

    def _failed(self, entry: Resident, failure: Failure) -> LoadFailedError:
        return LoadFailedError(entry.id, failure.reason, retry_after_s=max(failure.retry_at_s - self._now_s(), 0.0))

    # ── loads ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_next(self, bot_id: BotId) -> asyncio.Task[None] | None:
        entry = self._entries.get(bot_id)
        if entry is None or not self._loads_unasked(entry):
            return None
        # Nobody leaves for a bot that nobody asked for. A new version may take the room of others, else of the old one.
        claim = self._room.try_claim(entry.expected_bytes, evict=entry.slot is not None)
        if claim is None:
            if self._may_leave(bot_id):
                self._evict_for_room(bot_id)
            return None
        if self._entries[bot_id] is not entry:  # the room that it got was its own
            self._room.release(claim)
            return None
        self._start(entry, claim)
        return entry.loading

    def _start(self, entry: Resident, claim: Claim | None = None) -> None:
        if entry.slot is None:
            entry.state = step(entry.state, ResidencyEvent.LOAD)
        entry.has_room = claim is not None
        entry.loading = asyncio.get_running_loop().create_task(self._run_load(entry, entry.wanted, claim))

    async def _run_load(self, entry: Resident, version: Version, claim: Claim | None) -> None:
        try:
            slot = await self._loads.run(entry, version, claim)
        except Exception as error:  # noqa: BLE001 - whatever a strange artifact raises is that bot's failure alone
            entry.loading = None
            self._note_failure(entry, version, error)
        else:
            entry.loading = None
            if slot is not None:
                self._metrics.loads.labels("loaded").inc()
                self._metrics.load_seconds.labels(self._reason(entry, claim)).observe(slot.load_s)
                told = fields(bot=entry.id, version=version.number, bytes=slot.bot.footprint_bytes, took_s=slot.load_s)
                log.debug("bot loaded", extra=told)
                self._install(entry, slot)
            elif entry in self._leaving:
                self._settle_leaver(entry)
        if entry not in self._leaving and entry.wanted != version:
            self._backlog.add(entry.id)
        self._changed()

    def _reason(self, entry: Resident, claim: Claim | None) -> str:
        """Why a load was begun that has come to its end."""
        if entry.slot is not None:
            return "version"
        if entry.id in self._missed:
            return "reload"
        return "asked" if claim is None else "warm"

    def _install(self, entry: Resident, slot: Slot) -> None:
        if entry in self._leaving:
            entry.state = step(entry.state, ResidencyEvent.LOADED)
            self._room.release(slot.claim)
            self._settle_leaver(entry)
            return
        old = entry.slot
        entry.slot = slot
        entry.used_at_s = self._now_s()
        self._room.keep.loaded(entry.id, slot.bot.footprint_bytes, slot.bot.build_s or slot.load_s)
        if entry.id in self._missed:
            self._missed.discard(entry.id)
            self._metrics.reloads.inc()
            self.reloads.note()
        if slot.bot.version.number == entry.wanted.number:
            entry.failure = None
        if old is None:
            entry.state = step(entry.state, ResidencyEvent.LOADED)
            return
        if old.pins:
            entry.stale.add(old)
        else:
            self._room.release(old.claim)
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
        told = fields(bot=entry.id, version=version.number, attempt=failure.attempts, reason=failure.reason)
        log.warning("bot cannot be loaded", extra=told, exc_info=error if log.isEnabledFor(logging.DEBUG) else None)

    # ── leaving ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drop(self, entry: Resident) -> None:
        """Let go of an entry that is no longer in the table of entries."""
        self._room.keep.left(entry.id)
        if entry.state is Residency.ABSENT:
            return
        if entry.state is Residency.FAILED:
            entry.state = step(entry.state, ResidencyEvent.FORGET)
            return
        entry.state = step(entry.state, ResidencyEvent.EVICT)
        self._leaving.add(entry)
        self._settle_leaver(entry)

    def _settle_leaver(self, entry: Resident) -> None:
        if entry.loading is not None or any(slot.pins for slot in entry.slots()):
            return
        if entry.state is Residency.DRAINING:
            entry.state = step(entry.state, ResidencyEvent.DRAINED)
        for slot in entry.slots():
            self._room.release(slot.claim)
        entry.slot = None
        entry.stale.clear()
        self._leaving.discard(entry)
        self._changed()

    def _changed(self) -> None:
        self.on_change()

    @staticmethod
    def _now_s() -> float:
        return monotonic()  # the loop's clock; to look up the loop would cost a call of the system
