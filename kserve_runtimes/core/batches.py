"""Requests for the models' threads: whatever arrived while the last batch ran forms the next.

Nothing waits for a batch to fill up. Requests whose models can run together wait in one line, those of any other model
each in its own, and the lines take turns, so that one busy encoder does not keep a slow program from its turn.

A request whose deadline comes before its turn, as far as bots take what they usually take, is not kept waiting for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from time import monotonic, thread_time
from typing import Final

from kserve_runtimes.core.asked import Run, run_stages
from kserve_runtimes.core.errors import TooLateError

__all__ = ["Batches"]

_MOST_REQUESTS: Final = 64
"""Of one batch; what comes later than the last of them waits for less than the whole line."""


class Batches:
    """Lines of requests in front of the models' threads. Lives on the event loop."""

    def __init__(self, executor: Executor, *, threads: int, ended: Callable[[Run, float], None]) -> None:
        """`ended` is called on the loop for each run, with the CPU seconds that its share of the batch took."""
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._threads = self._free = threads
        self._ended = ended
        self._lines: dict[object, list[Run]] = {}
        """By what runs them together, in the order of their turns."""
        self._waiting_s = 0.0
        """What all that waits is expected to take; `Run.expected_s` of each."""
        self._running: dict[int, tuple[float, float]] = {}
        """When each batch began, and what it is expected to take."""
        self._batches = 0

    @property
    def expected_s(self) -> float:
        """What all that waits and runs is expected to take still, on one thread."""
        return max(self._waiting_s, 0.0) + self._left_s()

    def add(self, run: Run, /) -> None:
        """Run it as soon as a thread is free; `ended` may be called before this returns, with a `TooLateError`."""
        line = run.bot.together or run
        if not self._free:
            left_s = run.asked.deadline_s - monotonic()
            # Most deadlines are far: only where all that is there takes longer it matters whose turn comes when.
            if self.expected_s > left_s * self._threads and (wait_s := self._wait_s(line)) > left_s > 0:
                run.error = TooLateError(wait_s=wait_s, left_s=left_s)
                self._ended(run, 0.0)
                return
        run.expected_s = run.costs.work_s
        self._waiting_s += run.expected_s
        if line in self._lines:
            self._lines[line].append(run)
        else:
            self._lines[line] = [run]
        self._pump()

    def _wait_s(self, line: object) -> float:
        """Until a request that joins the line is begun: after those before it, and as many turns of other lines."""
        before = self._lines.get(line, [])
        most_of_others = (len(before) // _MOST_REQUESTS + 1) * _MOST_REQUESTS
        others_s = sum(_expected_s(runs[:most_of_others]) for other, runs in self._lines.items() if other is not line)
        return (self._left_s() + _expected_s(before) + others_s) / self._threads

    def _left_s(self) -> float:
        now_s = monotonic()
        return sum(max(began_s + takes_s - now_s, 0.0) for began_s, takes_s in self._running.values())

    def _pump(self) -> None:
        while self._lines and self._free:
            line = next(iter(self._lines))
            waiting = self._lines.pop(line)
            batch, left = waiting[:_MOST_REQUESTS], waiting[_MOST_REQUESTS:]
            if left:
                self._lines[line] = left
            takes_s = _expected_s(batch)
            self._waiting_s = self._waiting_s - takes_s if self._lines else 0.0
            self._free -= 1
            self._batches += 1
            number = self._batches
            self._running[number] = (monotonic(), takes_s)
            running = self._loop.run_in_executor(self._executor, _run, batch)
            running.add_done_callback(lambda future, number=number, batch=batch: self._done(future, number, batch))  # type: ignore[misc]

    def _done(self, future: asyncio.Future[float], number: int, batch: Sequence[Run]) -> None:
        del self._running[number]
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


def _expected_s(runs: Iterable[Run]) -> float:
    return sum(run.expected_s for run in runs)


def _run(batch: Sequence[Run]) -> float:
    """The CPU seconds of this thread."""
    before_s = thread_time()
    run_stages(batch)
    return thread_time() - before_s
