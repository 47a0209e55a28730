"""Where a request runs: on the event loop if its bot is loaded and known to be quick, else on a model's thread.

Handing a request to a thread and back costs more than a small model takes. What is slow, large, or not yet known must
not hold up the loop: a bot whose warm-up took long, or that has become slow, has its requests run on a thread.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from math import inf
from time import perf_counter
from typing import Final, NamedTuple

from botshard.sharding.ids import BotId, VersionNumber
from kserve_runtimes.core.asked import Asked, Run, run_stages
from kserve_runtimes.core.batches import Batches
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.core.resident import Slot

__all__ = ["Inference", "Took"]

_QUICK_S: Final = 0.001
"""What the loop may be held up by one request. A small model takes a tenth of it, but not with cold caches."""
_FORGOTTEN: Final = 1.05
"""The shortest wall time of late may have grown by so much a run."""
_SLOWER: Final = 0.1
"""Share of a longer CPU time that the estimate takes over; of a shorter one it takes half."""
_LONG_IN_A_ROW: Final = 8
_SPARE_ENTRIES: Final = 256
_AT_ONCE: Final = 32
"""Requests of one turn of the loop; others wait for the next, so that health and new connections come between."""


class Took(NamedTuple):
    """What one run took."""

    wall_s: float
    cpu_s: float
    """Of the thread that ran it."""


@dataclass(slots=True)
class _Usual:
    """How long a bot's small requests take.

    Wall time alone would call every bot slow on a machine with other work, CPU time alone would call those quick whose
    framework computes in threads of its own. So: the shortest wall time of late, and the usual CPU time.
    """

    version: VersionNumber
    wall_s: float
    cpu_s: float
    long_in_a_row: int = 0

    @property
    def is_quick(self) -> bool:
        return self.wall_s <= _QUICK_S and self.cpu_s <= _QUICK_S

    def note(self, took: Took, /) -> None:
        wall_s, cpu_s = took
        self.wall_s = min(self.wall_s * _FORGOTTEN, wall_s)
        self.cpu_s += (cpu_s - self.cpu_s) * (0.5 if cpu_s < self.cpu_s else _SLOWER)

    def note_here(self, wall_s: float, /) -> None:
        """A run on the loop, where CPU time is not worth asking for: it is less than wall time."""
        if wall_s <= _QUICK_S:
            self.long_in_a_row = 0
            self.note(Took(wall_s, wall_s))
            return
        self.long_in_a_row += 1
        if self.long_in_a_row == _LONG_IN_A_ROW:
            # Slow by now, or out of luck: runs on a thread will tell.
            self.long_in_a_row = 0
            self.wall_s, self.cpu_s = wall_s, wall_s


class Inference:
    """Takes requests, and knows how long bots take. Lives on the event loop."""

    def __init__(self, pool: Pool, executor: Executor, *, threads: int) -> None:
        self.pool = pool
        self._loop = asyncio.get_running_loop()
        self._usual: dict[BotId, _Usual] = {}
        self._batches = Batches(executor, threads=threads, ended=self._ended_in_thread)
        self._turn: list[Run] = []
        """Those that run here, at the end of this turn of the loop."""

    def submit(self, asked: Asked, /) -> asyncio.Task[None] | None:
        """Run it, and call its `answered` or `failed`.

        A lone request waits for nobody: a turn of the loop ends when what has arrived was read.

        Returns: what gets its bot for it, to be cancelled when nobody waits any more; None: it has its bot.
        """
        asked_at_s = perf_counter()
        slot = self._pin_quick(asked)
        if slot is None:
            return self._loop.create_task(self._submit_slowly(asked, asked_at_s))
        if not self._turn:
            self._loop.call_soon(self._run_turn)
        self._turn.append(Run(asked, slot, asked_at_s))
        return None

    def _pin_quick(self, asked: Asked) -> Slot | None:
        """The bot, pinned, if it is here and may run on the loop."""
        call = asked.call
        bot_id = BotId(call.bot_id)
        residents = self.pool.residents
        entry = residents.get(bot_id)
        if entry is None or entry.slot is None or not asked.is_small:
            return None
        slot = entry.slot
        number = slot.bot.version.number
        usual = self._usual.get(bot_id)
        if usual is None or usual.version != number:
            # Its first request: the run that it was warmed up with has told.
            usual = self._expect(bot_id, slot.bot)
        if not usual.is_quick or (call.version is not None and call.version != str(number)):
            return None
        residents.pin_now(entry, slot)
        self.pool.rates.note(bot_id)
        return slot

    async def _submit_slowly(self, asked: Asked, asked_at_s: float) -> None:
        try:
            slot = await self.pool.pin(asked.call, deadline_s=asked.deadline_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            asked.failed(error)
            return
        self.pool.rates.note(slot.bot.id)
        self._batches.add(Run(asked, slot, asked_at_s))

    def _run_turn(self) -> None:
        runs, self._turn = self._turn[:_AT_ONCE], self._turn[_AT_ONCE:]
        if self._turn:
            self._loop.call_soon(self._run_turn)
        run_stages(runs)
        for run in runs:
            if run.is_begun:
                usual = self._usual.get(run.bot.id)
                if usual is not None:
                    usual.note_here(run.times.work_s)
            self._ended(run)

    def _ended_in_thread(self, run: Run, cpu_s: float) -> None:
        if run.is_begun and run.asked.is_small:
            self._note(run.bot.id, run.bot.version.number, Took(run.times.work_s, cpu_s))
        self._ended(run)

    def _expect(self, bot_id: BotId, bot: LoadedBot) -> _Usual:
        if len(self._usual) > 2 * len(self.pool.residents) + _SPARE_ENTRIES:
            self._usual.clear()
        sample_s = bot.sample_s or inf  # not known is as good as slow
        usual = self._usual[bot_id] = _Usual(bot.version.number, sample_s, sample_s)
        return usual

    def _note(self, bot_id: BotId, version: VersionNumber, took: Took) -> None:
        usual = self._usual.get(bot_id)
        if usual is None or usual.version != version:
            return  # another version serves by now
        if usual.wall_s == inf:
            usual.wall_s, usual.cpu_s = took
        else:
            usual.note(took)

    def _ended(self, run: Run) -> None:
        # A caller that gave up did not stop the model: the bot is in use until here.
        self.pool.residents.unpin(run.bot.id, run.slot)
        asked = run.asked
        if run.is_begun:
            self.pool.metrics.note_stages(run.times)
        if run.error is not None:
            asked.failed(run.error)
        elif run.is_begun:
            asked.answered(run.encoded, run.bot, run.times)
