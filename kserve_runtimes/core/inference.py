"""Where a request runs: on the event loop if its bot is loaded and known to be quick, else on a model's thread.

Handing a request to a thread and back costs more than a small model takes. What is slow, large, or not yet known must
not hold up the loop: a bot whose warm-up took long, or that has become slow, has its requests run on a thread.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from time import perf_counter
from typing import Final

from botshard.sharding.ids import BotId
from kserve_runtimes.core.asked import Asked, Run, run_stages
from kserve_runtimes.core.batches import Batches
from kserve_runtimes.core.errors import BotQueueFullError, QueueFullError
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.core.queues import QueueBounds
from kserve_runtimes.core.resident import Resident
from kserve_runtimes.core.usual import Took, Usual

__all__ = ["Inference"]

_AT_ONCE: Final = 32
"""Requests of one turn of the loop; others wait for the next, so that health and new connections come between."""


class Inference:
    """Takes requests, as many as may wait, and knows what bots take. Lives on the event loop."""

    def __init__(
        self,
        pool: Pool,
        executor: Executor,
        *,
        threads: int,
        bounds: QueueBounds = QueueBounds(),  # noqa: B008 - a frozen value
    ) -> None:
        self.pool = pool
        self._loop = asyncio.get_running_loop()
        self._threads = threads
        self._most_of_bot, self._most = bounds.bot_requests, bounds.requests
        self._batches = Batches(executor, threads=threads, ended=self._ended_in_thread)
        self._turn: list[Run] = []
        """Those that run here, at the end of this turn of the loop."""
        self._present = 0
        """Requests that wait or run."""

    def submit(self, asked: Asked, /) -> asyncio.Task[bool] | None:
        """Run it, and call its `answered` or `failed`.

        A lone request waits for nobody: a turn of the loop ends when what has arrived was read.

        Returns: what gets its bot for it, to be cancelled when nobody waits any more; None: it has its bot, or failed.
        """
        asked_at_s = perf_counter()
        if self._present >= self._most:
            asked.failed(QueueFullError(self._present, retry_after_s=self._batches.expected_s / self._threads))
            return None
        self._present += 1
        try:
            run = self._run_here(asked, asked_at_s)
        except BotQueueFullError as error:
            self._present -= 1
            asked.failed(error)
            return None
        if run is None:
            getting = self._loop.create_task(self._submit_slowly(asked, asked_at_s))
            getting.add_done_callback(self._got_bot)
            return getting
        if not self._turn:
            self._loop.call_soon(self._run_turn)
        self._turn.append(run)
        return None

    def _run_here(self, asked: Asked, asked_at_s: float) -> Run | None:
        """The request with its bot pinned, if that is here and may run on the loop. Raises: BotQueueFullError."""
        call = asked.call
        bot_id = BotId(call.bot_id)
        residents = self.pool.residents
        entry = residents.get(bot_id)
        if entry is None or (slot := entry.slot) is None:
            return None
        if slot.pins >= self._most_of_bot:
            self._check_bound(entry)
        if not asked.is_small or slot.bot.is_foreign:
            return None
        number = slot.bot.version.number
        costs = entry.costs or entry.counted()
        usual = costs.usual
        if usual is None or usual.version != number:
            # Its first request: the run that it was warmed up with has told.
            usual = costs.expect(number, slot.bot.sample_s)
        if not usual.is_quick or (call.version is not None and call.version != str(number)):
            return None
        residents.pin_now(entry, slot)
        self.pool.rates.note(bot_id)
        return Run(asked, slot, costs, asked_at_s)

    async def _submit_slowly(self, asked: Asked, asked_at_s: float) -> bool:
        """Whether it waits for a thread now."""
        try:
            pool = self.pool
            entry = await pool.locate(asked.call)
            self._check_bound(entry)
            was_absent = entry.slot is None
            slot = await pool.pin(asked.call, deadline_s=asked.deadline_s)
            bot_id = slot.bot.id
            pool.rates.note(bot_id)
            load_s = perf_counter() - asked_at_s if was_absent else 0.0
            entry_now = pool.residents.get(bot_id) or entry
            run = Run(asked, slot, entry_now.counted(), asked_at_s, load_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            asked.failed(error)
            return False
        self._batches.add(run)
        return True

    def _got_bot(self, getting: asyncio.Task[bool]) -> None:
        # Of a task that is cancelled before its first step nothing runs, so this cannot be at its own end.
        if getting.cancelled() or not getting.result():
            self._present -= 1

    def _check_bound(self, entry: Resident) -> None:
        """Whether one more request may wait for this bot. Raises: BotQueueFullError."""
        present = entry.waiting + (entry.slot.pins if entry.slot is not None else 0)
        if present >= self._most_of_bot:
            work_s = entry.costs.work_s if entry.costs is not None else 0.0
            raise BotQueueFullError(entry.id, present, retry_after_s=present * work_s / self._threads)

    def _run_turn(self) -> None:
        runs, self._turn = self._turn[:_AT_ONCE], self._turn[_AT_ONCE:]
        if self._turn:
            self._loop.call_soon(self._run_turn)
        run_stages(runs)
        for run in runs:
            work_s = 0.0
            if run.is_begun:
                work_s = run.times.work_s
                if (usual := run.costs.usual) is not None:
                    usual.note_here(work_s)
            self._ended(run, work_s)

    def _ended_in_thread(self, run: Run, cpu_s: float) -> None:
        if run.is_begun and run.asked.is_small:
            usual, version = run.costs.usual, run.bot.version.number
            took = Took(run.times.work_s, cpu_s)
            if usual is None:
                run.costs.usual = Usual(version, *took)
            elif usual.version == version:  # else another one serves by now
                usual.note(took)
        self._ended(run, cpu_s)

    def _ended(self, run: Run, cpu_s: float) -> None:
        # A caller that gave up did not stop the model: the bot is in use until here.
        self._present -= 1
        self.pool.residents.unpin(run.bot.id, run.slot)
        asked = run.asked
        if run.is_begun:
            times = run.times
            rows = run.rows if times.batch_rows else 0
            run.costs.note(times, rows, cpu_s)
            self.pool.metrics.note_run(times, rows, cpu_s)
        if run.error is not None:
            asked.failed(run.error)
        elif run.is_begun:
            asked.answered(run.encoded, run.bot, run.times)
