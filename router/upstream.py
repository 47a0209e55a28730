"""One kept-alive HTTP/1.1 connection to a pool: an exchange at a time, bytes in, head and pieces of body out.

Why an own client: per request, httptools on `asyncio.Protocol` costs a fraction of what client libraries cost
(`docs/router.md` has the figures), and a router needs to know what they hide: whether a byte of an answer had come
when a connection ended, so that a request can be tried again without ever being answered twice.

What is right here on purpose: bodies by content-length, chunked or until the end of the connection; heads only (HEAD,
204, 304); interim answers (1xx) skipped; `Connection: close` and HTTP/1.0; bytes that nobody asked for (the connection
is not reused); an answer before the request was read; an end in the middle. Time limits are the caller's: it cancels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from router.errors import CutError, InvalidAnswerError, LostError, UpstreamError
from router.limits import Limits

__all__ = ["Connection", "Headers"]

Headers = list[tuple[bytes, bytes]]
"""Names in lower case, in the order they came."""

_BODYLESS: Final = frozenset({204, 304})
_FIRST_FINAL_STATUS: Final = 200
_JOINED_BYTES: Final = 16 * 1024


class Connection(asyncio.Protocol):
    """See the module. `begin` an exchange, await `head`, then `piece` until it gives None; then `reusable` tells."""

    __slots__ = (
        "_chunks",
        "_complete",
        "_error",
        "_exchanging",
        "_framed",
        "_head_bytes",
        "_head_done",
        "_head_only",
        "_held_bytes",
        "_keep_alive",
        "_limits",
        "_loop",
        "_on_lost",
        "_parser",
        "_pool",
        "_read_paused",
        "_stray",
        "_transport",
        "_waiter",
        "exchanges",
        "headers",
        "idle_since_s",
        "opened_at_s",
        "status",
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
        self._waiter: asyncio.Future[None] | None = None
        self._error: UpstreamError | None = None
        self._exchanging = False
        self._read_paused = False
        self._stray = False  # bytes came that belong to no answer
        self.opened_at_s = loop.time()
        self.idle_since_s = self.opened_at_s
        self.exchanges = 0
        self._reset(head_only=False)

    def _reset(self, *, head_only: bool) -> None:
        self.status = 0
        self.headers: Headers = []
        self._chunks: list[bytes] = []
        self._held_bytes = 0
        self._head_bytes = 0
        self._head_done = False
        self._head_only = head_only
        self._framed = False
        self._complete = False
        self._keep_alive = False

    # ── what the caller does ─────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, head: bytes, body: bytes, /, *, head_only: bool = False) -> None:
        """Send a request. Its body is whole already, so the transport may hold it: nothing grows without bound.

        Raises: LostError where the connection has ended meanwhile.
        """
        if self._error is not None or self._transport is None:
            raise LostError(f"pool {self._pool}: the connection has ended", stale=True)
        self._reset(head_only=head_only)
        self._exchanging = True
        self.exchanges += 1
        if len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)  # one buffer is cheaper to write than two
        else:
            self._transport.write(head)
            self._transport.write(body)

    async def head(self) -> int:
        """Wait for the head of the answer: its status; `headers` are there then.

        Raises: LostError, InvalidAnswerError.
        """
        while not self._head_done:
            if self._error is not None:
                raise self._error
            await self._progress()
        return self.status

    @property
    def finished(self) -> bool:
        """Whether the whole answer has come, though pieces of it may not have been taken yet."""
        return self._complete

    async def piece(self) -> bytes | None:
        """The next bytes of the body, as many as are there; None after the last.

        Raises: CutError, InvalidAnswerError.
        """
        while not self._chunks:
            if self._complete:
                return None
            if self._error is not None:
                raise self._error
            await self._progress()
        return self.take()

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
        """Whether another exchange can follow: the answer is whole and neither side wants to close."""
        return self._complete and self._keep_alive and not self._stray and self._error is None

    def rest(self, now_s: float, /) -> None:
        """The exchange is over and the connection waits for the next."""
        self._exchanging = False
        self._chunks.clear()
        self.idle_since_s = now_s

    def close(self) -> None:
        """End the connection now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    async def _progress(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
        self.close()
        self._wake()

    # ── what the transport says ──────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if not self._exchanging or self._complete:
            # Nobody asked: an answer to a request that was never sent must not become the answer to the next one.
            self._stray = True
            self.close()
            return
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(InvalidAnswerError(f"pool {self._pool}: the answer is not HTTP/1.1: {error}"))
            return
        if self._head_done:
            if self._held_bytes > self._limits.answer_buffer_bytes and not self._complete and not self._read_paused:
                self._pause_reading()
            self._wake()
        elif self._head_bytes > self._limits.max_head_bytes:
            self._fail_large_head()

    def eof_received(self) -> bool:
        """The pool sends nothing more: the end of a body without a length, or too early an end."""
        if self._head_done and not self._complete and not self._framed:
            self._complete = True
            self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        if self._error is None:
            why = "closed" if exc is None else str(exc) or type(exc).__name__
            if self._exchanging and self._head_done:
                self._error = CutError(f"pool {self._pool}: the connection ended in the middle of its answer ({why})")
            else:
                stale = self.exchanges > 1 and not self._head_bytes
                self._error = LostError(
                    f"pool {self._pool}: the connection ended before an answer ({why})", stale=stale
                )
        self._wake()
        self._on_lost(self)

    def _pause_reading(self) -> None:
        if self._transport is not None:
            self._read_paused = True
            self._transport.pause_reading()

    def _fail_large_head(self) -> None:
        bound = self._limits.max_head_bytes
        self._fail(InvalidAnswerError(f"pool {self._pool}: the answer's head is larger than {bound} bytes"))

    # ── what the parser says ─────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """A message begins; a second one within one exchange is stray, unless the first was an interim answer."""
        if self._complete:
            self._stray = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; after the body it is a trailer, which nobody here reads."""
        if not self._head_done and not self._stray:
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
        self._framed = status in _BODYLESS or any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        )
        self._head_done = True
        if sum(len(name) + len(value) for name, value in self.headers) > self._limits.max_head_bytes:
            self._fail_large_head()
        if self._head_only:
            # The parser cannot be told that no body follows; the connection is not used again.
            self._complete = True

    def on_body(self, body: bytes) -> None:
        """A piece of body."""
        if self._stray or self._head_only:
            return
        self._chunks.append(body)
        self._held_bytes += len(body)

    def on_message_complete(self) -> None:
        """The message is whole. Only in here does the parser know whether the connection stays open."""
        if self._stray or not self._head_done or self._head_only:
            return
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()
