"""A server on a real socket, an application and hot requests that tests can look into, and a client of raw bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from botshard.http1.answers import JSON, Answer
from botshard.http1.asgi import Receive, Scope, Send
from botshard.http1.hot import HotRequest
from botshard.http1.limits import Limits
from botshard.http1.server import Http1Server
from tests.waiting import aeventually

__all__ = ["Client", "Echo", "Events", "Served", "Spoken", "get", "post", "serving"]


@dataclass(slots=True)
class Events:
    """What the server's side saw."""

    begun: int = 0
    over: int = 0
    cancelled: int = 0
    disconnects: int = 0
    running: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)


class Echo(HotRequest):
    """Answers with the body; `/hot/slow` when it is released, `/hot/wait` within 0.1 s, `/hot/defect` never."""

    __slots__ = ("_events",)

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def begin(self) -> None:
        self._events.begun += 1
        if self.target == b"/hot/wait":
            self.deadline_s = asyncio.get_running_loop().time() + 0.1

    def run(self) -> Answer | None:
        match self.target:
            case b"/hot/slow" | b"/hot/wait":
                self.run_as_task(self._later())
                return None
            case b"/hot/defect":
                raise ValueError("a defect")
            case b"/hot/large":
                return Answer(200, b"", b"x" * int(self.body))
            case _:
                return Answer(200, b"x-target: %b\r\n" % self.target, bytes(self.body))

    async def _later(self) -> Answer:
        self._events.running += 1
        try:
            await self._events.release.wait()
        except asyncio.CancelledError:
            self._events.cancelled += 1
            raise
        return Answer(200, b"x-target: %b\r\n" % self.target, bytes(self.body))

    def expired(self) -> Answer:
        return refuse(504, "too late", self.fields)

    def answer_to(self, error: Exception, /) -> Answer:
        return refuse(500, str(error), self.fields)

    def over(self) -> None:
        self._events.over += 1


def refuse(status: int, text: str, fields: dict[bytes, bytes], /) -> Answer:
    """An error in the protocol's form."""
    more = b"x-request-id: %b\r\n" % fields[b"x-request-id"] if b"x-request-id" in fields else b""
    return Answer(status, JSON + more, orjson.dumps({"error": text}))


class Application:
    """Echoes bodies; some paths do something else."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/early":
                await self._answer(send, b"early")
            case "/stream":
                await self._stream(send)
            case "/large":
                await self._large(send)
            case "/wait":
                await self._wait(receive)
            case "/defect":
                raise ValueError("a defect")
            case "/half":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"half", "more_body": True})
            case "/unread":
                await self._events.release.wait()
                await self._echo(scope, receive, send)
            case _:
                await self._echo(scope, receive, send)

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._events.disconnects += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        await self._answer(send, body, (b"x-target", scope["path"].encode()))

    @staticmethod
    async def _answer(send: Send, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length, *headers]})
        await send({"type": "http.response.body", "body": body})

    @staticmethod
    async def _stream(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one ", b"two ", b"three"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _large(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(300):
            self._events.running += 1
            await send({"type": "http.response.body", "body": bytes(64 << 10), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _wait(self, receive: Receive) -> None:
        await receive()
        self._events.running += 1
        try:
            message = await receive()
        except asyncio.CancelledError:
            self._events.cancelled += 1
            raise
        if message["type"] == "http.disconnect":
            self._events.disconnects += 1


@dataclass(slots=True)
class Spoken:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A connection that sends and reads raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, to: str = "GET") -> Spoken:
        """The next answer, whole."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            status = int(first.split(" ")[1])
            if status < 200:
                return Spoken(status, headers, b"")
            if to == "HEAD":
                body = b""
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                pieces = []
                while size := int((await self.reader.readuntil(b"\r\n")), 16):
                    pieces.append((await self.reader.readexactly(size + 2))[:-2])
                body = b"".join(pieces)
                assert await self.reader.readline() == b"\r\n"
            elif status in {204, 304}:
                body = b""
            else:
                body = await self.reader.read()
            return Spoken(status, headers, body)

    async def rest(self) -> bytes:
        """What comes until the server ends the connection."""
        async with asyncio.timeout(10):
            return await self.reader.read()

    async def close(self) -> None:
        """Close."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


class Served:
    """The server and how to reach it."""

    def __init__(self, server: Http1Server, port: int, events: Events) -> None:
        self.server = server
        self.port = port
        self.events = events
        self._clients: list[Client] = []

    async def connect(self, *, buffer_bytes: int = 1 << 16) -> Client:
        """A new connection."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=buffer_bytes))
        self._clients.append(client)
        return client

    async def no_connection_is_left(self) -> None:
        """Fails where the server keeps a connection, or an exchange that is not over."""

        async def none() -> bool:
            return not self.server.connections and self.events.begun == self.events.over

        await aeventually(none)

    async def close(self) -> None:
        """Close the clients, then the server, which must have nothing left."""
        for client in self._clients:
            await client.close()
        self.events.release.set()
        assert await self.server.drain(5.0) == 0
        await self.no_connection_is_left()


@asynccontextmanager
async def serving(limits: Limits | None = None) -> AsyncIterator[Served]:
    """A server; nothing of it is left afterwards."""
    events = Events()
    server = Http1Server(
        Application(events),
        recognise=lambda _, target: Echo(events) if target.startswith(b"/hot") else None,
        refuse=refuse,
        limits=limits,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = listener.getsockname()[1]
    await server.listen([listener])
    served = Served(server, port, events)
    try:
        yield served
    finally:
        await served.close()


def get(target: str, *headers: str, version: str = "1.1", method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {target} HTTP/{version}", "host: x", *headers, "", ""]).encode()


def post(target: str, body: bytes, *headers: str, chunks: int | None = None) -> bytes:
    """A request with a body, of a declared length or in chunks of so many bytes."""
    if chunks is None:
        return get(target, f"content-length: {len(body)}", *headers, method="POST") + body
    pieces = [body[start : start + chunks] for start in range(0, len(body), chunks)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return get(target, "transfer-encoding: chunked", *headers, method="POST") + framed + b"0\r\n\r\n"
