"""Pools for tests: real TCP servers that answer exactly the bytes that a test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Answer", "Call", "Upstream", "infer_answer", "plain", "upstream"]


@dataclass(slots=True)
class Call:
    """One request as it came, and the way to answer it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """Number of the connection, from 1."""
    nth: int
    """Number of the request on that connection, from 1."""
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_body(self) -> None:
        """Read it, where the upstream leaves that to the answer."""
        self.body = await _read_body(self.reader, self.headers)

    def reset(self) -> None:
        """End the connection with RST."""
        self.writer.transport.abort()

    def close(self) -> None:
        """End the connection with FIN."""
        self.writer.close()


Answer: TypeAlias = Callable[[Call], Awaitable[None]]


def plain(
    body: bytes = b'{"ok":true}', /, status: int = 200, *, content_type: str = "application/json", **headers: str
) -> bytes:
    """A whole answer with a content-length; `x_y="1"` becomes `x-y: 1`."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {content_type}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def infer_answer(bot: str, *, epoch: int = 1) -> bytes:
    """A whole answer in the Open Inference Protocol, as a pool of ours would give it."""
    output = {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["yes"]}
    body = json.dumps({"model_name": bot, "model_version": "1", "outputs": [output]}).encode()
    return plain(body, x_botshard_epoch=str(epoch), x_botshard_bot_version="1")


class Upstream:
    """A server that is told how to answer; keeps what it was asked.

    With `heads_only` the answer begins with the head: it reads the body, or not. Then the end of a connection is not
    watched for, and a connection has one request.
    """

    def __init__(self, answer: Answer, *, heads_only: bool = False) -> None:
        self.answer = answer
        self._heads_only = heads_only
        self.calls: list[Call] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, listening: socket.socket | None = None) -> None:
        """Listen: on a socket that others may share, or on the port as before, any free one at first."""
        if listening is None:
            listening = socket.create_server(("127.0.0.1", self.port))
        self._server = await asyncio.start_server(self._accept, sock=listening, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End at once: the listening socket and all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop_connections()

    async def drop_connections(self) -> None:
        """Reset all connections; go on listening."""
        for writer in list(self._open):
            writer.transport.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        task = asyncio.create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        nth = 0
        call: Call | None = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                nth += 1
                lines = head.decode("latin-1").split("\r\n")
                method, path, _ = lines[0].split(" ")
                headers = dict(line.split(": ", 1) for line in lines[1:] if line)
                body = b"" if self._heads_only else await _read_body(reader, headers)
                call = Call(method, path, headers, body, number, nth, writer, reader)
                self.calls.append(call)
                if self._heads_only:
                    await self.answer(call)
                    break
                answering = asyncio.create_task(self._answer(call))
                self._tasks.add(answering)
                answering.add_done_callback(self._tasks.discard)
                watching = asyncio.create_task(_wait_for_data_or_end(reader))
                try:
                    await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
                    if not answering.done():
                        call.gone.set()
                    await answering
                finally:
                    watching.cancel()
                    answering.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if call is not None:
                call.gone.set()
            self._open.discard(writer)
            writer.transport.abort()

    async def _answer(self, call: Call) -> None:
        await self.answer(call)


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "transfer-encoding" not in headers:
        return await reader.readexactly(int(headers.get("content-length", 0)))
    assert "content-length" not in headers
    parts: list[bytes] = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return b"".join(parts)


async def _wait_for_data_or_end(reader: asyncio.StreamReader) -> None:
    while not reader._buffer and not reader.at_eof() and reader.exception() is None:  # type: ignore[attr-defined]
        await reader._wait_for_data("watch")  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def upstream(answer: Answer | bytes, *, heads_only: bool = False) -> AsyncIterator[Upstream]:
    """A started upstream; `answer` as bytes: the same to every request."""
    server = Upstream(answer if callable(answer) else _always(answer), heads_only=heads_only)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def _always(data: bytes) -> Answer:
    async def answer(call: Call) -> None:
        await call.write(data)

    return answer
