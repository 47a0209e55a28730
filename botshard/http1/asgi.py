"""Requests that an ASGI application answers: scope, receive and send over one exchange."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import httptools

from botshard.http1.answers import CONTINUE, JSON, Answer, line
from botshard.http1.exchange import Exchange
from botshard.http1.framing import Framing

__all__ = ["Application", "AsgiExchange", "Message", "Receive", "Scope", "Send"]

log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_OURS: Final = frozenset({b"transfer-encoding", b"content-length", b"connection", b"date"})
"""Headers that the connection writes itself."""
_FAILED: Final = Answer(500, JSON, b'{"error":"internal error; the server\'s log has the details"}')


class AsgiExchange(Exchange):
    """One request for the application. Starts with its head; bodies stream both ways."""

    __slots__ = (
        "_application",
        "_buffer",
        "_buffered_bytes",
        "_framing",
        "_gone",
        "_head",
        "_limit_bytes",
        "_news",
        "_task",
        "_told_whole",
    )

    def __init__(self, application: Application, limit_bytes: int) -> None:
        super().__init__()
        self._application = application
        self._limit_bytes = limit_bytes
        self._buffer: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._news = asyncio.Event()
        self._gone = False
        self._told_whole = False
        self._task: asyncio.Task[None] | None = None
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._framing: Framing | None = None
        """There once the answer's head was written."""

    # ── what the connection calls ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def has_answered(self) -> bool:
        """Whether the answer's head was written."""
        return self._framing is not None

    @property
    def is_full(self) -> bool:
        """Whether the application is slower than the peer."""
        return self._buffered_bytes > self._limit_bytes

    def take(self, data: bytes, /) -> None:
        """Keep a piece for `receive`."""
        self._buffer.append(data)
        self._buffered_bytes += len(data)
        self._news.set()

    def complete(self) -> None:
        """Let `receive` know."""
        self._news.set()

    def start(self) -> None:
        """Run the application."""
        try:
            scope = self._scope()
        except (httptools.HttpParserError, ValueError):
            self.link.reply(self, Answer(400, JSON, b'{"error":"the request\'s target is not a path"}'))
            return
        self._task = asyncio.get_running_loop().create_task(self._run(scope))

    def abandon(self) -> None:
        """Tell the application, and stop it."""
        self._gone = True
        self._news.set()
        if self._task is not None:
            self._task.cancel()

    def over(self) -> None:
        """Wake a `receive` that waits for the client to go."""
        self._buffer.clear()
        self._buffered_bytes = 0
        self._news.set()

    # ── the application ───────────────────────────────────────────────────────────────────────────────────────────────

    def _scope(self) -> Scope:
        url = httptools.parse_url(self.target)
        raw_path: bytes = url.path or b"/"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self.version,
            "method": self.method.decode("ascii"),
            "scheme": self.link.scheme,
            "path": unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self.headers,
            "client": self.link.peer,
            "server": self.link.local,
            "state": {},
        }

    async def _run(self, scope: Scope) -> None:
        try:
            await self._application(scope, self._receive, self._send)
        except asyncio.CancelledError:
            if not self.is_over:
                self.link.broken(self)
            raise
        except Exception:
            if not self.is_over:
                log.exception("application failed")
                self._give_up()
            return
        if not self.is_over:
            log.error("application ended without a whole answer")
            self._give_up()

    def _give_up(self) -> None:
        if self.has_answered:
            self.link.broken(self)
        else:
            self.link.reply(self, _FAILED)

    async def _receive(self) -> Message:
        if self.expects_continue and not self.is_whole and not self.is_over and not self.has_answered:
            self.expects_continue = False
            self.link.write(CONTINUE)
        while True:
            if self._gone or self.is_over:
                return {"type": "http.disconnect"}
            if self._buffer or (self.is_whole and not self._told_whole):
                break
            self._news.clear()
            await self._news.wait()
        body = self._buffer.popleft() if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        self._buffered_bytes = 0
        self._told_whole = self.is_whole
        self.link.read_on()
        return {"type": "http.request", "body": body, "more_body": not self.is_whole}

    async def _send(self, message: Message) -> None:
        if self._gone:
            return
        kind = message["type"]
        if self.is_over:
            raise RuntimeError(f"{kind} after the whole answer")
        if kind == "http.response.start":
            if self._head is not None:
                raise RuntimeError("a second http.response.start")
            self._head = (message["status"], [(name.lower(), value) for name, value in message.get("headers", ())])
            return
        if kind != "http.response.body" or self._head is None:
            raise RuntimeError(f"{kind} is not expected here")
        await self._send_body(message.get("body", b""), is_last=not message.get("more_body", False))

    async def _send_body(self, body: bytes, *, is_last: bool) -> None:
        head = b""
        framing = self._framing
        if framing is None:
            head, framing = self._begin_answer(len(body) if is_last else None)
        self.link.write(head + framing.piece(body, is_last=is_last))
        if is_last:
            self.link.finished(self)
        else:
            await self.link.out.wait()

    def _begin_answer(self, whole_bytes: int | None) -> tuple[bytes, Framing]:
        """The answer's head, and how its body is framed. `whole_bytes`: size of the body, where it is all there."""
        assert self._head is not None  # noqa: S101 - checked by `_send`
        status, headers = self._head
        fields = dict(headers)
        length = fields.get(b"content-length")
        framing = Framing(self, status, length=None if length is None else int(length), whole_bytes=whole_bytes)
        if b"close" in fields.get(b"connection", b"").lower():
            self.keep_alive = False
        self._framing = framing
        return framing.head(line(name, value) for name, value in headers if name not in _OURS), framing
