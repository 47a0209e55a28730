"""The load, a process of its own: `python -m drills.asker ORDERS`; ends with its last answer after SIGTERM.

An open loop: each stream asks its bots in turn at a fixed rate, whether or not answers come, and latency counts from
the moment at which a request was due. A stream with a bound on open requests waits there, and makes up for nothing.
Every request is asked once, so whatever fails, fails here; on a connection of its own, or, where a stream is to keep
them, on the one that was used last. One line an answer goes to the file of results; a number alone says up to when all
that was due is over.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO, TypeAlias, cast

import uvloop

__all__ = ["main"]

_PATIENCE_S = 30.0
_TOLERANCE = 1e-3
_KEPT_S = 0.15
"""How long a kept connection is used again: less than a server that is about to end waits for a next request."""
_FLUSH_S = 0.2
_BOUND_S = 0.01
"""Between two looks whether a stream is below its bound again."""


@dataclass(frozen=True, slots=True)
class _Question:
    bot: str
    request: bytes
    answers: Sequence[Sequence[float]]
    """Any of them is right."""


@dataclass(frozen=True, slots=True)
class _Stream:
    name: str
    rate_per_s: float
    most_open: int
    is_kept: bool
    questions: Sequence[_Question]


_Done: TypeAlias = Callable[[int, str, str], None]


class _Connection(asyncio.Protocol):
    """A connection, and the request that is under way on it. Whoever asked is told status, problem and Retry-After."""

    def __init__(self, question: _Question, done: _Done, keep: Callable[[_Connection], None] | None) -> None:
        self._keep = keep
        self._transport: asyncio.Transport | None = None
        self.idle_since_s = 0.0
        self._begin(question, done)

    def _begin(self, question: _Question, done: _Done) -> None:
        self._question = question
        self._done = done
        self._received = b""
        self._over = False
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._finish, 0, "no answer in time")

    @property
    def is_usable(self) -> bool:
        """Whether the other side has kept it, as far as can be known here."""
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and time.monotonic() < self.idle_since_s + _KEPT_S

    def ask(self, question: _Question, done: _Done) -> None:
        """The next one."""
        assert self._transport is not None  # noqa: S101 - `is_usable` was asked
        self._begin(question, done)
        self._transport.write(question.request)

    def close(self) -> None:
        """Not to be used any more."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._question.request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _header(head, b"content-length") if found else ""
        if not length or len(body) < int(length):
            return
        status = int(head[9:12])
        stays = _header(head, b"connection").lower() != "close"
        if status != 200:
            self._finish(status, body.decode(errors="replace"), _header(head, b"retry-after"), stays=stays)
        elif not _is_right(body, self._question.answers):
            self._finish(status, "wrong: " + body.decode(errors="replace"), stays=stays)
        else:
            self._finish(status, "", stays=stays)

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(0, f"connection lost without an answer: {exc!r}" if exc else "connection closed without an answer")

    def refused(self, error: OSError) -> None:
        """There was no connection."""
        self._finish(0, f"no connection: {error!r}")

    def _finish(self, status: int, problem: str, retry_after: str = "", *, stays: bool = False) -> None:
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        self._done(status, problem, retry_after)
        if stays and self._keep is not None:
            self.idle_since_s = time.monotonic()
            self._keep(self)
        else:
            self.close()


def _header(head: bytes, name: bytes) -> str:
    at = head.lower().find(b"\r\n" + name + b":")
    return "" if at < 0 else head[at + len(name) + 3 :].split(b"\r\n", 1)[0].decode().strip()


def _is_right(body: bytes, answers: Sequence[Sequence[float]]) -> bool:
    try:
        data = json.loads(body)["outputs"][0]["data"]
        return any(
            len(data) == len(answer)
            and all(abs(given - right) <= _TOLERANCE for given, right in zip(data, answer, strict=True))
            for answer in answers
        )
    except (ValueError, KeyError, IndexError, TypeError):
        return False


class _Asker:
    def __init__(self, host: str, port: int, results: TextIO) -> None:
        self._host, self._port = host, port
        self._results = results
        self._loop = asyncio.get_running_loop()
        self._asking: set[asyncio.Task[None]] = set()
        self._open: list[float] = []
        self._kept: list[_Connection] = []
        self._stopped = asyncio.Event()
        self._answered = asyncio.Event()

    def stop(self) -> None:
        self._stopped.set()

    async def run(self, streams: Sequence[_Stream]) -> None:
        asking = [asyncio.create_task(self._ask_on(stream)) for stream in streams]
        while not self._stopped.is_set():
            now_s = time.monotonic()
            self._results.write(f"{min(self._open, default=now_s)}\n")
            self._results.flush()
            await self._pause(_FLUSH_S)
        await asyncio.gather(*asking)
        while self._open:
            self._answered.clear()
            await self._answered.wait()
        self._results.write(f"{time.monotonic()}\n")
        for connection in self._kept:
            connection.close()

    async def _ask_on(self, stream: _Stream) -> None:
        name, rate_per_s, most_open, questions = stream.name, stream.rate_per_s, stream.most_open, stream.questions
        began_s, sent = time.monotonic(), 0
        while not self._stopped.is_set():
            if most_open and len(self._open) >= most_open:
                await self._pause(_BOUND_S)
                began_s = time.monotonic() - sent / rate_per_s  # what was not sent meanwhile is not made up for
                continue
            due_s = began_s + sent / rate_per_s
            pause_s = due_s - time.monotonic()
            if pause_s > 0:
                await self._pause(pause_s)
                continue
            question = questions[sent % len(questions)]
            sent += 1
            self._open.append(due_s)
            done = partial(self._on_end, name, question.bot, due_s)
            kept = self._kept_connection() if stream.is_kept else None
            if kept is not None:
                kept.ask(question, done)
                continue
            task = self._loop.create_task(self._ask(question, done, is_kept=stream.is_kept))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    def _kept_connection(self) -> _Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def _ask(self, question: _Question, done: _Done, *, is_kept: bool) -> None:
        connection = _Connection(question, done, self._kept.append if is_kept else None)
        try:
            await self._loop.create_connection(lambda: connection, self._host, self._port)
        except OSError as error:
            connection.refused(error)

    def _on_end(self, stream: str, bot: str, due_s: float, status: int, problem: str, retry_after: str) -> None:
        self._open.remove(due_s)
        self._answered.set()
        took_s = time.monotonic() - due_s
        line = json.dumps([stream, due_s, took_s, bot, status, retry_after, problem[:500]])
        self._results.write(line + "\n")

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._stopped.wait()
        except TimeoutError:
            return


def main() -> int:
    """Ask as the orders say."""
    orders = json.loads(Path(sys.argv[1]).read_text())
    host, port = orders["host"], int(orders["port"])
    streams = [
        _Stream(
            stream["name"],
            float(stream["ratePerS"]),
            int(stream["mostOpen"]),
            bool(stream["isKept"]),
            [_Question(bot["id"], _request(host, bot), bot["answers"]) for bot in stream["bots"]],
        )
        for stream in orders["streams"]
    ]

    async def run(results: TextIO) -> None:
        asker = _Asker(host, port, results)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asker.stop)
        gc.freeze()
        await asker.run(streams)

    with Path(orders["results"]).open("a") as results:
        uvloop.run(run(results))
    return 0


def _request(host: str, bot: dict[str, str]) -> bytes:
    body = bot["question"].encode()
    head = f"POST /v2/models/{bot['id']}/infer HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


if __name__ == "__main__":
    sys.exit(main())
