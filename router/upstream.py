"""One kept-alive HTTP/1.1 connection to a pool: a request at a time; who asked is called when something has come.

Why an own client: per request, httptools on `asyncio.Protocol` costs a fraction of what client libraries cost
(`docs/router.md` has the figures), and a router needs to know what they hide: whether a byte of an answer had come
when a connection ended, so that a request can be tried again without ever being answered twice.

What is right here on purpose: bodies by content-length, chunked or until the end of the connection; heads only (HEAD,
204, 304); interim answers (1xx) skipped; `Connection: close` and HTTP/1.0; bytes that nobody asked for (the connection
is not reused); an answer before the request was read; an end in the middle. Time limits are the caller's: it cancels.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools

from router.errors import CutError, InvalidAnswerError, LostError, UpstreamError
from router.limits import Limits

__all__ = ["Asker", "Connection", "Headers", "ShortAsker"]

Headers = list[tuple[bytes, bytes]]
"""Names in lower case, in the order they came."""

_BODYLESS: Final = frozenset({204, 304})
_FIRST_FINAL_STATUS: Final = 200
_JOINED_BYTES: Final = 16 * 1024


class Asker(Protocol):
    """Who sent a request."""

    def came(self) -> None:
        """The head of the answer is here, more of its body, its end, or an error; the connection knows which."""


class ShortAsker(Asker, Protocol):
    """Who sent a usual request."""

    def answered(self, data: bytes, /) -> bool:
        """Whether these first bytes were all of the answer and are taken; else `hand_over` was called."""
        ...


class Connection(asyncio.Protocol):
    """See the module. `begin` a request; `came` of its asker is called until the answer is `finished` or broke off."""

    __slots__ = (
        "_asker",
        "_chunks",
        "_head_bytes",
        "_head_only",
        "_held_bytes",
        "_is_used",
        "_keep_alive",
        "_limits",
        "_loop",
        "_on_lost",
        "_parser",
        "_pool",
        "_read_paused",
        "_stray",
        "_transport",
        "_trip",
        "error",
        "exchanges",
        "finished",
        "has_head",
        "headers",
        "idle_since_s",
        "on_whole",
        "opened_at_s",
        "status",
        "use_until_s",
    )

    def __init__(
        self,
        pool: str,
        limits: Limits,
        *,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[Connection], None],
    ) -> None:
        self._pool = pool
        self._limits = limits
        self._loop = loop
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._asker: Asker | None = None
        self._trip: ShortAsker | None = None
        self.on_whole: Callable[[], None] | None = None
        """Called if the whole answer has come with its first bytes."""
        self.error: UpstreamError | None = None
        """Why nothing more will come."""
        self._read_paused = False
        self._stray = False  # bytes came that belong to no answer
        self.opened_at_s = loop.time()
        self.use_until_s = math.inf
        """When it is too old for another request."""
        self.idle_since_s = self.opened_at_s
        self.exchanges = 0
        self._reset(head_only=False)

    def _reset(self, *, head_only: bool) -> None:
        self.status = 0
        self.headers: Headers = []
        self.has_head = False
        self.finished = False
        """The whole answer has come, though not all of its body may have been taken."""
        self._chunks: list[bytes] = []
        self._held_bytes = 0
        self._head_bytes = 0
        self._head_only = head_only
        self._keep_alive = False
        self._is_used = False

    # ── what the asker does ──────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, head: bytes, body: bytes | memoryview, asker: Asker, /, *, head_only: bool = False) -> None:
        """Send a request. Its body is whole already, so the transport may hold it: nothing grows without bound.

        Raises: LostError where the connection has ended meanwhile.
        """
        if self.error is not None or self._transport is None:
            raise LostError(f"pool {self._pool}: the connection has ended", stale=True)
        self._reset(head_only=head_only)
        self._is_used = True
        self._asker = asker
        self.exchanges += 1
        if len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)  # one buffer is cheaper to write than two
        else:
            self._transport.write(head)
            self._transport.write(body)

    def begin_short(self, trip: ShortAsker, message: bytes, rest: memoryview | None = None, /) -> None:
        """Send a whole request; the first bytes of its answer are offered to `trip`, before the parser.

        The connection was idle a moment ago. A large body is the `rest`: it is not copied.
        """
        transport = cast(asyncio.Transport, self._transport)
        if self._is_used:
            self._reset(head_only=False)
        self._asker = self._trip = trip
        self.exchanges += 1
        if rest is None:
            transport.write(message)
        else:
            transport.writelines((message, rest))

    def hand_over(self, asker: Asker, /) -> None:
        """Somebody else waits for the answer."""
        self._trip = None
        self._is_used = True
        self._asker = asker

    def take(self) -> bytes:
        """All bytes of the body that are here and not taken yet; maybe none."""
        chunks = self._chunks
        if len(chunks) == 1:
            data = chunks.pop()
        else:
            data = b"".join(chunks)
            chunks.clear()
        self._held_bytes = 0
        if self._read_paused and self._transport is not None:
            self._read_paused = False
            self._transport.resume_reading()
        return data

    @property
    def reusable(self) -> bool:
        """Whether another request can follow: the answer is whole, all was sent, and neither side wants to close."""
        return (
            self.finished
            and self._keep_alive
            and not self._stray
            and self.error is None
            and self._transport is not None
            and not self._transport.get_write_buffer_size()
        )

    def rest(self, now_s: float, /) -> None:
        """The answer was taken, and the connection waits for the next request."""
        self._asker = None
        self.idle_since_s = now_s

    def close(self) -> None:
        """End the connection now, whatever is under way."""
        self._asker = self._trip = None
        if self.error is None:
            self.error = LostError(f"pool {self._pool}: the connection was closed", stale=True)
        if self._transport is not None:
            self._transport.abort()

    def tell(self) -> None:
        """Whoever waits is told to look."""
        if self._asker is not None:
            self._asker.came()

    def _fail(self, error: UpstreamError) -> None:
        asker = self._asker
        if self.error is None:
            self.error = error
        self.close()
        if asker is not None:
            asker.came()

    # ── what the transport says ──────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._asker is None or self.finished:
            # Nobody asked: an answer to a request that was never sent must not become the answer to the next one.
            self._stray = True
            self.close()
            return
        if self._trip is not None:
            trip, self._trip = self._trip, None
            if trip.answered(data):
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        on_whole, self.on_whole = self.on_whole, None
        if not self.has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(InvalidAnswerError(f"pool {self._pool}: the answer is not HTTP/1.1: {error}"))
            return
        if self._head_bytes > self._limits.max_head_bytes and self._has_large_head():
            bound = self._limits.max_head_bytes
            self._fail(InvalidAnswerError(f"pool {self._pool}: the answer's head is larger than {bound} bytes"))
        elif self.has_head:
            if on_whole is not None and self.finished:
                on_whole()
            if self._held_bytes > self._limits.answer_buffer_bytes and not self.finished and not self._read_paused:
                self._pause_reading()
            self.tell()

    def _has_large_head(self) -> bool:
        """Bytes of a body may have come with the last of the head."""
        head_bytes = sum(len(name) + len(value) for name, value in self.headers)
        return not self.has_head or head_bytes > self._limits.max_head_bytes

    def eof_received(self) -> bool:
        """The pool sends nothing more: the end of a body without a length, or too early an end."""
        if self.has_head and not self.finished and not self._is_framed():
            self.finished = True
            self.tell()
        elif self._asker is None and self.error is None:
            self.error = LostError(f"pool {self._pool}: the connection was closed", stale=True)
        return False

    def _is_framed(self) -> bool:
        return self.status in _BODYLESS or any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        if self.error is None:
            why = "closed" if exc is None else str(exc) or type(exc).__name__
            if self._asker is not None and self.has_head:
                self.error = CutError(f"pool {self._pool}: the connection ended in the middle of its answer ({why})")
            else:
                stale = self.exchanges > 1 and not self._head_bytes
                self.error = LostError(f"pool {self._pool}: the connection ended before an answer ({why})", stale=stale)
        self._on_lost(self)
        self.tell()

    def _pause_reading(self) -> None:
        if self._transport is not None:
            self._read_paused = True
            self._transport.pause_reading()

    # ── what the parser says ─────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """A message begins; a second one to one request is stray, unless the first was an interim answer."""
        if self.finished:
            self._stray = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; after the body it is a trailer, which nobody here reads."""
        if not self.has_head and not self._stray:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._stray:
            return
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:  # 101 with an upgrade, which nobody asked for, is refused by the parser
            self.headers = []
            return
        self.status = status
        self.has_head = True
        if self._head_only:
            # The parser cannot be told that no body follows; the connection is not used again.
            self.finished = True

    def on_body(self, body: bytes) -> None:
        """A piece of body."""
        if self._stray or self._head_only:
            return
        self._chunks.append(body)
        self._held_bytes += len(body)

    def on_message_complete(self) -> None:
        """The message is whole. Only in here does the parser know whether the connection stays open."""
        if self._stray or not self.has_head or self._head_only:
            return
        self.finished = True
        self._keep_alive = self._parser.should_keep_alive()
