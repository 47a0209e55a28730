"""Clients of a router under attack: what they say, and what they must hear."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from itertools import count

import h11

from fuzz.mutilation import mutilated
from fuzz.router_pool import TAG, answer_body

__all__ = ["BOTS", "Conversation"]

BOTS = tuple(f"bot-{number}" for number in range(8))
_TAGS = count(1)
_PATIENCE_S = 20.0
_MAX_REQUESTS = 24
_PIECES = (
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b"0\r\n\r\n",
    b"content-length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"x-request-id: y\r\n",
    b"traceparent: 00-x\r\n",
    b"connection: close\r\n",
    b"expect: 100-continue\r\n",
    b"\xff",
)
_FORMS = ("usual", "traced", "chunked", "by another path", "pieces")


def request_of(form: str, tag: bytes, chance: random.Random) -> tuple[bytes, int]:
    """A right request of a form; and the size of its body, which begins with the tag."""
    body = tag + b"." * chance.choice((0, 3, 3, 3, 300, 9000 if form != "pieces" else 300))
    path = b"/v2/models/%b/infer" % chance.choice(BOTS).encode()
    lines = [b"Host: bots.example", b"X-Request-Id: " + tag, b"Accept: */*"]
    if form == "traced":
        lines.insert(1, b"traceparent: 00-%032x-%016x-01" % (chance.getrandbits(128) | 1, chance.getrandbits(64) | 1))
    if form == "by another path":
        path = b"/v2/models/%b/versions/1/infer" % chance.choice(BOTS).encode()
    if form == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        cut = chance.randrange(len(body))
        sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part) + b"0\r\n\r\n"
    else:
        lines.append(b"Content-Length: %d" % len(body))
        sent = body
    return b"\r\n".join([b"POST %b HTTP/1.1" % path, *lines, b"", sent]), len(body)


class Conversation:
    """One connection, from its first byte to its last."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port = port
        self._chance = chance
        self._expected: deque[tuple[bytes, int]] = deque()
        self._received = b""
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

    async def hold(self) -> None:
        """Say everything, hear everything."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._talk(reader, writer)
        except TimeoutError:
            self.problems.append(f"a connection did not end; {len(self._expected)} answers are missing")
        except (ConnectionError, h11.RemoteProtocolError, asyncio.IncompleteReadError) as error:
            self.problems.append(f"instead of the answer to {self._expected[0][0]!r}: {error!r}")
        finally:
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chance = self._chance
        for _ in range(chance.randrange(1, _MAX_REQUESTS)):
            pipelined = chance.choice((1, 1, 1, 1, 2, 5))
            for _ in range(pipelined):
                await self._say(writer)
            while self._expected:
                await self._hear(reader)
        match chance.randrange(4):
            case 0:
                writer.write_eof()
            case 1:
                await self._say(writer)  # and goes without waiting
                self._expected.clear()
                return
            case _:
                await self._say_wrong(reader, writer)
                return
        if await reader.read():
            self.problems.append("bytes that nobody asked for")

    async def _say(self, writer: asyncio.StreamWriter) -> None:
        chance = self._chance
        form = chance.choices(_FORMS, (70, 10, 8, 4, 8))[0]
        tag = b"right-%d" % next(_TAGS)
        data, size = request_of(form, tag, chance)
        self._expected.append((tag, size))
        self.counts["right"] += 1
        if form == "pieces":
            at = chance.randrange(len(data))
            writer.write(data[:at])
            await asyncio.sleep(0)
            data = data[at:]
        writer.write(data)

    async def _say_wrong(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Something mutilated: whatever the answer is, there is an end."""
        data, _ = request_of(self._chance.choice(_FORMS), b"wrong-%d" % next(_TAGS), self._chance)
        self.counts["mutilated"] += 1
        try:
            others, times = (data,), (1, 1, 1, 2, 4)
            wrong = mutilated(data, self._chance, pieces=_PIECES, others=others, most_bytes=len(data), times=times)
            writer.write(wrong)
            writer.write_eof()
            await reader.read()
        except ConnectionError:
            return

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        tag, size = self._expected[0]
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        if self._received:
            connection.receive_data(self._received)
        status, told, body = 0, b"", b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Response):
                status, told = event.status_code, dict(event.headers).get(TAG, b"")
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionError("the connection ended")
        self._received = connection.trailing_data[0]
        self._expected.popleft()
        if (status, told, body) != (200, tag, answer_body(tag, size)):
            self.problems.append(f"{tag!r} was answered {status} {told!r} {body[:200]!r}")
