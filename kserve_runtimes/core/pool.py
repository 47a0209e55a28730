"""One replica of a pool: what every way in (REST, gRPC, the SDK's own endpoints) asks, and what runs behind them.

A request goes `locate` (is the bot ours? look again before saying no) → pin (load it if it is absent) → the stages
(`inference.py`) → unpin.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic, perf_counter
from typing import Final

from botshard.logs import fields
from botshard.sharding.errors import WorldError
from botshard.sharding.ids import BotId, Epoch, PoolName, check_bot_id
from kserve_runtimes.core.asked import Call
from kserve_runtimes.core.assignment import NO_EPOCH, View
from kserve_runtimes.core.errors import (
    MisdirectedError,
    PoolNotReadyError,
    UnknownBotError,
    UnknownVersionError,
)
from kserve_runtimes.core.expected_use import expected_use, settled_share
from kserve_runtimes.core.follower import Follower
from kserve_runtimes.core.metrics import Metrics
from kserve_runtimes.core.notices import LoadNotices
from kserve_runtimes.core.rates import RequestRates
from kserve_runtimes.core.resident import Resident, Slot
from kserve_runtimes.core.residents import Residents

__all__ = ["Call", "Pool"]

log = logging.getLogger(__name__)

_FIRST_REQUESTS_S: Final = 0.02
"""Time for the requests that wait in the socket's queue to be read, before the catalog is."""
_CHECK_SHARE: Final = 0.1
"""How much of its time the loop may spend on looking at all bots while they are loaded."""
_UNKNOWN_GROUP_TIMEOUT_S: Final = 30.0
"""Until the table names this pool's group, and with it a deadline."""


class Pool:
    """The bots of this replica and the way to them. Lives on the event loop."""

    def __init__(
        self,
        *,
        name: PoolName,
        follower: Follower,
        residents: Residents,
        notices: LoadNotices,
        metrics: Metrics,
        request_timeout_s: float | None,
    ) -> None:
        self.name = name
        self.residents = residents
        self.metrics = metrics
        self.view: View | None = None
        self.problem: str | None = None
        """Why the last poll failed, so that the view may be old or absent; None: it did not."""
        self.rates = RequestRates(now_s=asyncio.get_running_loop().time())
        self.warmed_epoch = NO_EPOCH
        """Up to which epoch all bots that must be resident are, or failed; stands still while some may be unknown."""
        self.ready_share = 1.0
        """Share of the expected requests whose bots must be resident, or failed, before a realtime pool is ready."""
        self.settled_share = 0.0
        """Share of the expected requests whose bots are so, as of the last look."""
        self.is_ready = False
        """Once true it stays so: bots that come later are warmed beside those that serve already."""
        self.on_report: Callable[[], None] = lambda: None
        """Called when something changed that others wait for."""
        self.on_ready: Callable[[], None] = lambda: None
        self._follower = follower
        self._notices = notices
        self._request_timeout_s = request_timeout_s
        self._viewed = asyncio.Event()
        self.is_complete = False
        """Whether the whole catalog was read; until then only bots that were asked for are known."""
        self._is_listening = False
        self._use: Mapping[BotId, float] = {}
        self._reported: Mapping[BotId, float] = {}
        """How much each bot was used before this start; forgotten once all bots are settled."""
        self._has_settled = False
        self._told_epoch = NO_EPOCH
        self._check_scheduled = False
        self._next_check_s = 0.0
        self._failed = 0
        residents.on_change = self._schedule_check
        metrics.in_flight.set_function(lambda: notices.in_flight)

    # ── what table and catalog say ────────────────────────────────────────────────────────────────────────────────────

    @property
    def epoch(self) -> Epoch:
        """Of the table in force; 0: none."""
        return self.view.epoch if self.view is not None else NO_EPOCH

    async def follow(self, interval_s: float, /, *, expected: Callable[[], dict[BotId, float]]) -> None:
        """Keep up with table and catalog until cancelled.

        Args:
            interval_s: between two polls.
            expected: blocks, called once in the follower's thread: how much each bot was used before this start.
        """
        loop = asyncio.get_running_loop()
        follower = self._follower
        rates: dict[BotId, float] = {}
        while True:
            try:
                if self.view is None:
                    await self._look_again(follower.begin)
                    # Whoever woke this replica is looked up before the whole catalog is.
                    await asyncio.sleep(0 if self.view is None or self.view.realtime else _FIRST_REQUESTS_S)
                view = await loop.run_in_executor(follower.executor, follower.poll)
                if view is not None and view.realtime and not self.is_complete:
                    rates = await loop.run_in_executor(follower.executor, expected)
                if not self.is_complete:
                    self.is_complete = True
                    self._schedule_check()
                if view is not None:
                    self._apply(view, rates)
                elif self.warmed_epoch != self.epoch:
                    self._schedule_check()
                self._note_problem(None)
            except WorldError as error:
                self._note_problem(" ".join(str(error).split()))
            except Exception:
                # The follower must outlive a defect: without it this replica would serve an old table for ever.
                log.exception("poll failed")
            self.residents.tick(loop.time())
            await asyncio.sleep(interval_s)

    def _apply(self, view: View, reported: Mapping[BotId, float] | None = None) -> None:
        self.view = view
        self._reported = reported or self._reported
        measured = self.rates.roll(self._now_s())
        self._use = measured if self._has_settled else expected_use(view.owned, self._reported, measured)
        self.metrics.epoch.set(view.epoch)
        self.metrics.owned.set(len(view.owned))
        self.residents.assign(view.owned, eager=view.realtime, rates=self._use)
        if view.epoch != self._told_epoch and self.is_complete:
            self._told_epoch = view.epoch
            log.info("routing table taken up", extra=fields(epoch=view.epoch, bots=len(view.owned)))
        self._viewed.set()
        self._schedule_check()

    async def _look_again(self, look: Callable[[], View | None]) -> None:
        view = await asyncio.get_running_loop().run_in_executor(self._follower.executor, look)
        if view is not None:
            self._apply(view)

    def _note_problem(self, problem: str | None) -> None:
        if problem != self.problem and problem is not None:
            log.warning("store cannot be followed, what is known stays in force", extra=fields(problem=problem))
        elif problem is None and self.problem is not None:
            log.info("store is followed again")
        self.problem = problem

    # ── readiness ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def note_listening(self) -> None:
        """The server accepts connections now; before that nothing is ready."""
        self._is_listening = True
        self._schedule_check()

    def _schedule_check(self) -> None:
        # Thousands of loads end one after the other, and a look at thousands of bots takes as long as a load: looks
        # keep a distance that grows with what they take. A pool of a few bots is looked at in the loop's next turn.
        if not self._check_scheduled:
            self._check_scheduled = True
            asyncio.get_running_loop().call_later(max(0.0, self._next_check_s - perf_counter()), self._check)

    def _check(self) -> None:
        started_s = perf_counter()
        self._check_scheduled = False
        self._look()
        ended_s = perf_counter()
        self._next_check_s = ended_s + (ended_s - started_s) / _CHECK_SHARE

    def _look(self) -> None:
        residents = self.residents
        self.metrics.residents.set(sum(entry.slot is not None for entry in residents))
        self.metrics.resident_bytes.set(residents.footprint_bytes)
        failed = sum(entry.failure is not None for entry in residents)
        tell = failed != self._failed
        self._failed = failed
        if self.view is not None and self.is_complete and self._is_listening:
            is_settled = residents.settled()
            self.settled_share = settled_share(residents, self._use) if self.view.realtime else 1.0
            # Where bots of ours may be in an object that cannot be read, a move to this pool has not come to its end.
            if is_settled and not self.view.unread:
                tell |= self.warmed_epoch != self.view.epoch
                self.warmed_epoch = self.view.epoch
            # A share of 1 means every bot, which a sum of rates may come to with one of them missing.
            is_enough = is_settled or self.settled_share >= self.ready_share < 1
            if is_enough and not self.is_ready:
                self.is_ready = tell = True
                self._log_progress("pool ready")
                self.on_ready()
            if is_settled and not self._has_settled:
                self._has_settled = True
                self._reported = {}
                self._log_progress("every bot is loaded or failed")
        if tell:
            self.on_report()

    def _log_progress(self, event: str) -> None:
        share = round(self.settled_share, 4)
        log.info(event, extra=fields(epoch=self.epoch, bots=len(self.residents), failed=self._failed, share=share))

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def timeout_s(self, asked_s: float | None, /) -> float:
        """How long a request may take: what its caller has left, else what the group (or the setting) gives.

        A caller may have more than that left, when it waits for a pool that starts: up to the group's cold start.
        """
        view = self.view
        usual_s = self._request_timeout_s or (view.request_timeout_s if view is not None else None)
        usual_s = usual_s or _UNKNOWN_GROUP_TIMEOUT_S
        if asked_s is None:
            return usual_s
        return min(asked_s, max(usual_s, view.cold_start_timeout_s if view is not None else 0.0))

    @property
    def requests_taken(self) -> int:
        """Inference requests since the start."""
        return self._notices.requests

    @property
    def requests_in_flight(self) -> int:
        """Inference requests being answered."""
        return self._notices.in_flight

    def begin_request(self) -> None:
        """One more inference request is in flight."""
        self._notices.begin()

    def end_request(self) -> None:
        """One less."""
        self._notices.end()

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Counts one inference request."""
        self.begin_request()
        try:
            yield
        finally:
            self.end_request()

    async def locate(self, call: Call, /) -> Resident:
        """The bot's entry, after looking again in catalog and table where it seems not to be ours.

        Raises: UnknownBotError, MisdirectedError, PoolNotReadyError, StoreError.
        """
        bot_id = BotId(call.bot_id)
        entry = self.residents.get(bot_id)
        if entry is not None:
            return entry
        if check_bot_id(bot_id) is not None:
            raise UnknownBotError(bot_id)
        if self.view is None:
            await self._wait_for_view()
        follower = self._follower
        if self.residents.get(bot_id) is None:
            # Also a bot that the catalog has may be new to the view: it came with its neighbour's object.
            await self._look_again(lambda: follower.find(bot_id))
            if not follower.knows(bot_id):
                raise UnknownBotError(bot_id)
        if self.residents.get(bot_id) is None and call.epoch > self.epoch:
            await self._look_again(lambda: follower.catch_up(call.epoch))
        entry = self.residents.get(bot_id)
        if entry is None:
            raise MisdirectedError(bot_id, self.name, self.epoch)
        return entry

    async def pin(self, call: Call, /, *, deadline_s: float = inf) -> Slot:
        """The loaded bot; give it back with `residents.unpin`.

        Raises: what `locate` raises; LoadFailedError, NoRoomError, UnknownVersionError.
        """
        entry = await self.locate(call)
        slot = await self.residents.pin(entry.id, deadline_s=deadline_s)
        serving = slot.bot.version.number
        if call.version is not None and call.version != str(serving):
            self.residents.unpin(entry.id, slot)
            raise UnknownVersionError(entry.id, call.version, serving)
        return slot

    async def _wait_for_view(self) -> None:
        """The first reading of table and catalog takes milliseconds, unless the store is away."""
        while not self._viewed.is_set():
            if self.problem is not None:
                raise PoolNotReadyError(f"pool {self.name} cannot read its bots: {self.problem}", retry_after_s=1.0)
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with what it waits for.
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._viewed.wait()

    @staticmethod
    def _now_s() -> float:
        return monotonic()
