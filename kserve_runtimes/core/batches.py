"""Requests for the models' threads: whatever arrived while the last batch ran forms the next.

Nothing waits for a batch to fill up. Requests whose models can run together wait in one line, those of any other model
each in its own, and the lines take turns, so that one busy encoder does not keep a slow program from its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from time import thread_time
from typing import Final

from kserve_runtimes.core.asked import Run, run_stages

__all__ = ["Batches"]

_MOST_REQUESTS: Final = 64
"""Of one batch; what comes later than the last of them waits for less than the whole line."""


class Batches:
    """Lines of requests in front of the models' threads. Lives on the event loop."""

    def __init__(self, executor: Executor, *, threads: int, ended: Callable[[Run, float], None]) -> None:
        """`ended` is called on the loop for each run, with the CPU seconds that its share of the batch took."""
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._free = threads
        self._ended = ended
        self._lines: dict[object, list[Run]] = {}
        """By what runs them together, in the order of their turns."""

    def add(self, run: Run, /) -> None:
        """Run it as soon as a thread is free."""
        line = run.bot.together or run
        if line in self._lines:
            self._lines[line].append(run)
        else:
            self._lines[line] = [run]
        self._pump()

    def _pump(self) -> None:
        while self._lines and self._free:
            line = next(iter(self._lines))
            waiting = self._lines.pop(line)
            batch, left = waiting[:_MOST_REQUESTS], waiting[_MOST_REQUESTS:]
            if left:
                self._lines[line] = left
            self._free -= 1
            running = self._loop.run_in_executor(self._executor, _run, batch)
            running.add_done_callback(lambda future, batch=batch: self._done(future, batch))  # type: ignore[misc]

    def _done(self, future: asyncio.Future[float], batch: Sequence[Run]) -> None:
        self._free += 1
        self._pump()  # the next batch runs while the answers of this one are written
        if future.cancelled():
            cpu_s = 0.0
        elif (defect := future.exception()) is not None:
            cpu_s = 0.0
            for run in batch:
                run.error = run.error or (defect if isinstance(defect, Exception) else RuntimeError(repr(defect)))
        else:
            cpu_s = future.result()
        work_s = sum(run.times.work_s for run in batch if run.is_begun)
        for run in batch:
            self._ended(run, cpu_s * run.times.work_s / work_s if run.is_begun and work_s else 0.0)


def _run(batch: Sequence[Run]) -> float:
    """The CPU seconds of this thread."""
    before_s = thread_time()
    run_stages(batch)
    return thread_time() - before_s
