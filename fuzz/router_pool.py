"""A pool whose answers tell whose they are, in every form that HTTP/1.1 has for them."""

from __future__ import annotations

import asyncio
import random

import h11

__all__ = ["TAG", "Pool", "answer_body"]

TAG = b"x-request-id"
"""Carries the tag; the request's body has it as well, and so has the answer's."""
_HEADERS = [("content-type", "application/json"), ("x-botshard-epoch", "1")]


def answer_body(tag: bytes, body_bytes: int) -> bytes:
    """What the request with this tag, and a body of that size, is answered."""
    return b'{"tag":"%b","of":%d}' % (tag, body_bytes)


class Pool:
    """See the module."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.problems: list[str] = []
        self.failed_once: set[bytes] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """End it all."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._answer(connection, reader, writer):
                connection.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if not reader.at_eof():  # a request that was given up half-way is none of the router's doing
                self.problems.append(f"the pool was sent what h11 does not read: {error}")
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    async def _answer(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """One request; whether the connection goes on."""
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        assert request is not None
        tag = dict(request.headers).get(TAG, b"")
        if tag.startswith(b"right-") and not body.startswith(tag):
            self.problems.append(f"request {tag!r} came with the body of another: {body[:60]!r}")
        return await self._tell(connection, writer, tag, answer_body(tag, len(body)))

    async def _tell(self, connection: h11.Connection, writer: asyncio.StreamWriter, tag: bytes, body: bytes) -> bool:
        chance = self.chance
        form = chance.choices(("plain", "chunked", "pieces", "close", "reset", "no replica"), (80, 5, 5, 5, 3, 2))[0]
        if form in {"reset", "no replica"} and tag in self.failed_once:
            form = "plain"  # once is bad luck, and saved; more often is another test
        headers = [*_HEADERS, *([(TAG.decode(), tag.decode("latin-1"))] if chance.random() < 0.5 else [])]
        if form == "reset":
            self.failed_once.add(tag)
            return False
        if form == "no replica":
            self.failed_once.add(tag)
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno")
            await writer.drain()
            return False
        if form == "close":
            headers.append(("connection", "close"))
        if form == "chunked":
            headers.append(("transfer-encoding", "chunked"))
        else:
            headers.append(("content-length", str(len(body))))
        sent = connection.send(h11.Response(status_code=200, headers=headers)) or b""
        cut = chance.randrange(len(body))
        for piece in (body[:cut], body[cut:]):
            sent += (connection.send(h11.Data(data=piece)) or b"") if piece else b""
        sent += connection.send(h11.EndOfMessage()) or b""
        if form == "pieces":
            at = chance.randrange(len(sent))
            writer.write(sent[:at])
            await asyncio.sleep(0)
            sent = sent[at:]
        writer.write(sent)
        await writer.drain()
        return form != "close"
