"""An HTTP server without sockets: bytes in, in given pieces, and everything that came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from botshard.http1.answers import JSON, Answer
from botshard.http1.asgi import Receive, Scope, Send
from botshard.http1.connection import Connection
from botshard.http1.hot import HotRequest
from botshard.http1.limits import Limits
from botshard.http1.server import Http1Server

__all__ = ["Heard", "Seen", "feed"]

_TURNS = 400
"""Of the loop, within which whatever is whole is answered, and a connection that has ended is gone."""
_FAIL = b"/hot/defect"


@dataclass(frozen=True, slots=True)
class Heard:
    """A request as the server's side got it."""

    method: bytes
    target: bytes
    body: bytes


@dataclass(slots=True)
class Seen:
    """What came of some bytes."""

    sent: bytes = b""
    heard: list[Heard] = field(default_factory=list)
    """Whole requests, in the order of their answers."""
    begun: int = 0
    over: int = 0
    is_lost: bool = False
    """Whether the connection had ended at the end."""
    problems: list[str] = field(default_factory=list)
    """What the loop was told of."""


class _Transport(asyncio.Transport):
    """Keeps what is written; closing takes effect in the loop's next turn."""

    def __init__(self, protocol: Connection) -> None:
        super().__init__()
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self.written = bytearray()
        self.is_paused = False
        self._is_closing = False
        self.has_eof = False
        self.is_lost = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Everything is taken at once."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.has_eof, "written after the end"
        if not self._is_closing:
            self.written += data

    def write_eof(self) -> None:
        self.has_eof = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._lose)

    abort = close

    def _lose(self) -> None:
        self.is_lost = True
        self._protocol.connection_lost(None)


class _Echo(HotRequest):
    """Answers with the body; a third of the targets later than at once, one with an error."""

    __slots__ = ("_seen",)

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen

    def begin(self) -> None:
        self._seen.begun += 1

    def over(self) -> None:
        self._seen.over += 1

    def run(self) -> Answer | None:
        self._seen.heard.append(Heard(self.method, self.target, bytes(self.body)))
        if self.target == _FAIL:
            raise ValueError("a defect")
        if len(self.target) % 3 == 0:
            self.run_as_task(self._later())
            return None
        return Answer(200, b"", bytes(self.body))

    async def _later(self) -> Answer:
        await asyncio.sleep(0)
        return Answer(200, b"", bytes(self.body))

    def expired(self) -> Answer:
        return _refuse(504, "too late", self.fields)

    def answer_to(self, error: Exception, /) -> Answer:
        return _refuse(500, str(error), self.fields)


def _refuse(status: int, text: str, fields: dict[bytes, bytes], /) -> Answer:  # noqa: ARG001 - the protocol's form
    return Answer(status, JSON, orjson.dumps({"error": text}))


class _Application:
    """Echoes; or answers before it has read, in pieces, not to the end, or fails."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/early":
                await _answer(send, b"early")
                return
            case "/defect":
                raise ValueError("a defect")
            case "/half":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"half", "more_body": True})
                return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        self._seen.heard.append(Heard(scope["method"].encode(), scope["raw_path"] + query, body))
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in (b"one ", b"two", b""):
                await send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})
            return
        await _answer(send, body)


async def _answer(send: Send, body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def feed(pieces: Sequence[bytes], limits: Limits) -> Seen:
    """All pieces, each once the server reads again; then the end of what the client sends."""
    seen = Seen()
    server = Http1Server(
        _Application(seen),
        recognise=lambda _, target: _Echo(seen) if target.startswith(b"/hot") else None,
        refuse=_refuse,
        limits=limits,
    )
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: seen.problems.append(str(context)))
    connection = Connection(server)
    transport = _Transport(connection)
    connection.connection_made(transport)
    for piece in pieces:
        await _turns_while(lambda: transport.is_paused and not transport.is_lost)
        if transport.is_closing() or transport.is_paused:
            break
        connection.data_received(piece)
        await asyncio.sleep(0)
    await _settle(transport)
    if not transport.is_closing() and not connection.eof_received():
        transport.close()
    await _turns_while(lambda: not transport.is_lost)
    seen.sent, seen.is_lost = bytes(transport.written), transport.is_lost
    assert not server.connections or not seen.is_lost
    return seen


async def _settle(transport: _Transport) -> None:
    """Until nothing more is written."""
    quiet, size = 0, -1
    while quiet < 20 and not transport.is_lost:
        quiet = quiet + 1 if size == len(transport.written) else 0
        size = len(transport.written)
        await asyncio.sleep(0)


async def _turns_while(is_so: Any) -> None:
    for _ in range(_TURNS):
        if not cast(bool, is_so()):
            return
        await asyncio.sleep(0)
