"""Bytes in, requests out: llhttp's callbacks, and the bounds that llhttp has none for."""

from __future__ import annotations

import math
from time import monotonic
from typing import Final, Protocol

import httptools

from botshard.http1.exchange import Exchange
from botshard.http1.heads import problem_of_head, without_upgrade
from botshard.http1.limits import Limits

__all__ = ["RequestReader", "RequestSink"]

_CHUNK_FRAME_BYTES: Final = 64
"""Of framing that a chunk may take; what is beyond counts as head."""


class _RefusedError(Exception):
    """Stops the parser; what to answer was told to the sink."""


class RequestSink(Protocol):
    """Where requests go."""

    def exchange_for(self, method: bytes, target: bytes, /) -> Exchange:
        """A new exchange."""
        ...

    def arrived(self, exchange: Exchange, /) -> None:
        """A request's head is here; its body follows."""

    def refuse(self, status: int, text: str, fields: dict[bytes, bytes], /) -> None:
        """What came is no request; nothing after it is read."""

    def discard(self, size_bytes: int, /) -> None:
        """Bytes came that nobody wants."""


class RequestReader:
    """The reading half of a connection."""

    __slots__ = (
        "_generation",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_is_upgrade",
        "_limits",
        "_overhead_bytes",
        "_parser",
        "_sink",
        "_url",
        "body_since_s",
        "current",
        "head_since_s",
        "is_deaf",
        "is_fresh",
    )

    def __init__(self, sink: RequestSink, limits: Limits) -> None:
        self._sink = sink
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_head = False
        self._is_upgrade = False
        self._generation = 0
        self._head_bytes = 0
        self._overhead_bytes = 0
        self.is_fresh = True
        """Nothing of a request has come yet."""
        self.is_deaf = False
        """What comes is thrown away: a request that was the last, or none at all, has come."""
        self.current: Exchange | None = None
        """The request whose body is being read."""
        self.head_since_s = math.inf
        """Since when a head is incomplete."""
        self.body_since_s = math.inf
        """When the last piece of an incomplete body came."""

    @property
    def is_between(self) -> bool:
        """Whether no request is incomplete."""
        return self.current is None and not self._in_head

    @property
    def is_at_start(self) -> bool:
        """Whether the next byte is the first of a request, or of nothing."""
        return self.current is None and not self._in_head and not self._head_bytes

    def feed(self, data: bytes | memoryview, /) -> None:
        """Parse; the sink hears what was found."""
        body_of, generation = self.current, self._generation
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_without_upgrade(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            # What follows a last request is none of ours, and what was refused was told.
            if not self.is_deaf:
                self.refuse(400, f"malformed request: {error}")
        if self.is_deaf:
            return
        if self.current is not None:
            self._count_body(len(data) if self.current is body_of else 0)
        elif self._in_head or self._generation == generation:
            self._count_head(len(data) if self._generation == generation else 0)

    def refuse(self, status: int, text: str) -> None:
        """Read no more; the sink answers."""
        self.is_deaf = True
        self._sink.refuse(status, text, dict(self._headers))

    def _read_without_upgrade(self, rest: memoryview) -> None:
        """Other protocols are not offered: the request is read again as if it had not asked for one."""
        parser = self._parser
        head = without_upgrade(parser.get_method(), self._url, parser.get_http_version(), self._headers)
        if head is None:
            self.refuse(501, "CONNECT is not offered")
            return
        self._parser = httptools.HttpRequestParser(self)
        self.feed(head)
        if not self.is_deaf:
            self.feed(rest)

    def _count_head(self, received_bytes: int) -> None:
        """Bytes that no callback has told of yet: an endless name or value, or empty lines."""
        self._head_bytes += received_bytes
        if self._head_bytes > self._limits.max_head_bytes:
            self._refuse_head()
        elif self._in_head and self.head_since_s == math.inf:
            self.head_since_s = monotonic()

    def _count_body(self, received_bytes: int) -> None:
        """Bytes that no callback tells of: endless chunk extensions."""
        self._overhead_bytes += received_bytes
        self.body_since_s = monotonic()
        if self._overhead_bytes > self._limits.max_head_bytes:
            self.refuse(400, "the body's framing is larger than the body")

    def _refuse_head(self) -> None:
        self.refuse(431, f"the head is larger than {self._limits.max_head_bytes} bytes")

    # ── callbacks of the parser ───────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._url = b""
        self._headers = []
        self._in_head = True
        self._generation += 1
        self._head_bytes = 0
        self.is_fresh = False

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url
        if len(self._url) > self._limits.max_head_bytes:
            self._refuse_head()
            raise _RefusedError

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; after the body, a trailer, which nobody asked for."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.max_head_bytes:
            self._refuse_head()
            raise _RefusedError
        if self._in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: whose request is it?"""
        parser = self._parser
        if parser.should_upgrade():
            self._is_upgrade = True
            return
        self._in_head = False
        self._head_bytes = self._overhead_bytes = 0
        self.head_since_s = math.inf
        headers = self._headers
        fields = dict(headers)
        version = parser.get_http_version()
        problem = problem_of_head(version, headers, fields, self._limits.max_body_bytes)
        if problem is not None:
            self.refuse(*problem)
            raise _RefusedError
        method = parser.get_method()
        exchange = self._sink.exchange_for(method, self._url)
        exchange.method = method
        exchange.target = self._url
        exchange.headers = headers
        exchange.fields = fields
        exchange.version = version
        exchange.keep_alive = parser.should_keep_alive()
        exchange.expects_continue = b"expect" in fields and fields[b"expect"].lower() == b"100-continue"
        self.current = exchange
        self._sink.arrived(exchange)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        exchange = self.current
        if exchange is None:
            return
        size_bytes = len(data)
        self._overhead_bytes -= size_bytes
        if exchange.is_over:
            self._sink.discard(size_bytes)
            return
        exchange.body_bytes += size_bytes
        if exchange.body_bytes > self._limits.max_body_bytes:
            self.refuse(413, f"the body is larger than {self._limits.max_body_bytes} bytes")
            raise _RefusedError
        exchange.take(data)

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._overhead_bytes -= _CHUNK_FRAME_BYTES

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._is_upgrade:
            self._is_upgrade = False
            return
        exchange = self.current
        self.current = None
        self.body_since_s = math.inf
        self._generation += 1
        self._head_bytes = 0
        if exchange is None:
            return
        exchange.is_whole = True
        if not exchange.keep_alive:
            self.is_deaf = True
        if not exchange.is_over:
            exchange.complete()
