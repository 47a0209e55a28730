"""An open loop: requests at moments that were drawn before, over kept-alive connections, each answer looked at.

Latency counts from the moment at which a request was due: one that waits for a free connection, or for this process,
waits as its client would.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import uvloop

from benchmarks.http_load import whole_bytes

__all__ = ["Exchanges", "run_open_load"]

_OK = b"HTTP/1.1 200"
_PATIENCE_S = 60.0


@dataclass(slots=True)
class Exchanges:
    """What became of each request, in the order of the answers; seconds are of `time.time`."""

    subject: list[int] = field(default_factory=list)
    due_s: list[float] = field(default_factory=list)
    done_s: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    wrong: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    """The first of them, for people."""


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._partial = b""
        self.subject = -1
        self.due_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, subject: int, due_s: float, request: bytes) -> None:
        self.subject, self.due_s = subject, due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self._partial + data if self._partial else data
        size = whole_bytes(answer)
        if size is None or len(answer) < size:
            self._partial = answer
            return
        self._partial = b""
        self._run.answered(self, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost(self, exc)

    def close(self) -> None:
        self._transport.close()


class _Run:
    def __init__(self, requests: Sequence[bytes], check: Callable[[int, bytes], str]) -> None:
        self._requests = requests
        self._check = check
        self._free: list[_Connection] = []
        self._waiting: deque[tuple[int, float]] = deque()
        self.seen = Exchanges()
        self.open = 0
        self.has_all = False
        """Nothing more will be due."""
        self.over = asyncio.Event()

    async def connect(self, port: int, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            self._free.append((await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port))[1])

    def due(self, subject: int, due_s: float) -> None:
        self.open += 1
        if self._free:
            self._free.pop().ask(subject, due_s, self._requests[subject])
        else:
            self._waiting.append((subject, due_s))

    def answered(self, connection: _Connection, answer: bytes) -> None:
        subject, due_s = connection.subject, connection.due_s
        connection.subject = -1
        self.open -= 1
        seen = self.seen
        seen.subject.append(subject)
        seen.due_s.append(due_s)
        seen.done_s.append(time.time())
        seen.status.append(int(answer[9:12]))
        if not answer.startswith(_OK):
            seen.failed += 1
            self._note(f"{subject}: {answer[:300]!r}")
        elif problem := self._check(subject, answer[answer.index(b"\r\n\r\n") + 4 :]):
            seen.wrong += 1
            self._note(f"{subject}: {problem}")
        if self.has_all and not self.open:
            self.over.set()
        if self._waiting:
            subject, due_s = self._waiting.popleft()
            connection.ask(subject, due_s, self._requests[subject])
        else:
            self._free.append(connection)

    def lost(self, connection: _Connection, exc: Exception | None) -> None:
        if connection.subject >= 0:
            self.open -= 1
            self.seen.failed += 1
            self._note(f"{connection.subject}: connection lost: {exc!r}")

    def close(self) -> None:
        for connection in self._free:
            connection.close()

    def _note(self, problem: str) -> None:
        if len(self.seen.problems) < 5:
            self.seen.problems.append(problem)


def run_open_load(
    port: int,
    requests: Sequence[bytes],
    arrivals: Sequence[tuple[float, int]],
    *,
    connections: int,
    check: Callable[[int, bytes], str],
) -> Exchanges:
    """Sends each request when it is due, and waits for the last answer.

    Args:
        port: of a server on this machine.
        requests: whole requests, by their subject.
        arrivals: seconds from the beginning and subjects, in order.
        connections: at most so many requests are under way.
        check: what is wrong with the body of a subject's answer; empty: nothing.
    """
    return cast(Exchanges, uvloop.run(_run(port, requests, arrivals, connections, check)))


async def _run(
    port: int,
    requests: Sequence[bytes],
    arrivals: Sequence[tuple[float, int]],
    connections: int,
    check: Callable[[int, bytes], str],
) -> Exchanges:
    run = _Run(requests, check)
    await run.connect(port, connections)
    began_s = time.time()
    for at_s, subject in arrivals:
        if (early_s := began_s + at_s - time.time()) > 0:
            await asyncio.sleep(early_s)
        run.due(subject, min(began_s + at_s, time.time()))  # the loop's timers may be a millisecond early
        if run.open % connections == 0:
            await asyncio.sleep(0)  # behind: whatever has come is read as well
    run.has_all = True
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S if run.open else 0):
            await run.over.wait()
    run.seen.failed += run.open
    run.close()
    return run.seen
