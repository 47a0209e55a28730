"""The upstream client against every shape of answer, whole and one byte at a time, on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop

from router.connections import Connections
from router.errors import CutError, InvalidAnswerError, LostError, UpstreamError
from router.limits import Limits
from router.origins import Address, Origin
from tests.router.upstreams import Call, plain, upstream

LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


@dataclass(frozen=True)
class Case:
    """Bytes that a pool sends, and what has to come out."""

    sent: bytes
    status: int = 200
    body: bytes = b""
    reused: bool = True
    closes: bool = False
    head_only: bool = False


CASES = {
    "content-length": Case(plain(b"hello"), body=b"hello"),
    "empty body": Case(plain(b"")),
    "chunked": Case(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n7;ext=1\r\n, world\r\n0\r\n\r\n",
        body=b"hello, world",
    ),
    "chunked with trailers": Case(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-trailer: 1\r\n\r\n", body=b"hi"
    ),
    "204 without a body": Case(b"HTTP/1.1 204 No Content\r\n\r\n", status=204),
    "304 without a body": Case(b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", status=304),
    "an interim answer first": Case(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + plain(b"late"), body=b"late"
    ),
    "HEAD with a length": Case(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", head_only=True, reused=False),
    "until the connection ends": Case(
        b"HTTP/1.1 200 OK\r\n\r\nall of it", body=b"all of it", closes=True, reused=False
    ),
    "HTTP/1.0 until the end": Case(b"HTTP/1.0 200 OK\r\n\r\nold", body=b"old", closes=True, reused=False),
    "HTTP/1.0 with a length": Case(b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold", body=b"old", reused=False),
    "connection: close": Case(plain(b"bye", connection="close"), body=b"bye", reused=False),
    "bytes that nobody asked for": Case(plain(b"one") + plain(b"two"), body=b"one", reused=False),
    "an error": Case(plain(b'{"error":"x"}', 500), status=500, body=b'{"error":"x"}'),
}

BROKEN: dict[str, tuple[bytes, type[UpstreamError]]] = {
    "nothing at all": (b"", LostError),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-le", LostError),
    "less than its length": (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", CutError),
    "a chunk that ends early": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhello", CutError),
    "no last chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", CutError),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", InvalidAnswerError),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", InvalidAnswerError),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        InvalidAnswerError,
    ),
    "a negative length": (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", InvalidAnswerError),
    "a bad chunk size": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", InvalidAnswerError),
    "another protocol": (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        InvalidAnswerError,
    ),
    "one endless header": (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000, InvalidAnswerError),
    "too many headers": (
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"v" * 100) for i in range(700)) + b"\r\n",
        InvalidAnswerError,
    ),
}


def _in_loop(loop: str, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    LOOPS[loop](test())


class _News(asyncio.Event):
    """Set when something of an answer has come."""

    def came(self) -> None:
        self.set()


def _origin(url: str) -> tuple[Origin, Connections]:
    address = Address.of(url)
    connections = Connections(address.place, Limits(), tls=ssl.create_default_context)
    return Origin("pool", address, Limits(), connections), connections


async def _fetch(origin: Origin, *, head_only: bool = False) -> tuple[int, bytes]:
    connection = await origin.acquire()
    news = _News()
    try:
        method = b"HEAD" if head_only else b"GET"
        connection.begin(method + b" / HTTP/1.1\r\nhost: x\r\n\r\n", b"", news, head_only=head_only)
        body = b""
        while True:
            await news.wait()
            news.clear()
            body += connection.take()
            if connection.finished:
                return connection.status, body
            if connection.error is not None:
                raise connection.error
    finally:
        origin.release(connection)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("split", [pytest.param(0, id="whole"), pytest.param(1, id="byte by byte")])
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_a_good_answer_is_read_as_it_was_meant(case: Case, split: int, loop: str) -> None:
    """Status and body come out, and the connection is used again exactly where that is right."""

    async def answer(call: Call) -> None:
        if split:
            for index in range(len(case.sent)):
                await call.write(case.sent[index : index + 1])
                await asyncio.sleep(0)
        else:
            await call.write(case.sent)
        if case.closes:
            call.close()

    async def test() -> None:
        async with upstream(answer) as server:
            origin, connections = _origin(server.url)
            for _ in range(2):
                assert (case.status, case.body) == await _fetch(origin, head_only=case.head_only)
                await asyncio.sleep(0.01)  # bytes that come late are for the connection at rest
            assert server.connections == (1 if case.reused else 2)
            connections.close()

    _in_loop(loop, test)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("ends", ["reset", "close"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_an_error_and_its_connection_is_not_reused(name: str, ends: str, loop: str) -> None:
    """Whatever is wrong has its own error, and leaves no connection behind."""
    sent, error = BROKEN[name]

    async def answer(call: Call) -> None:
        await call.write(sent)
        if ends == "reset":
            await asyncio.sleep(0.02)  # a reset throws away what has not been read yet
            call.reset()
        else:
            call.close()

    async def test() -> None:
        async with upstream(answer) as server:
            origin, connections = _origin(server.url)
            with pytest.raises(error, match="pool"):
                await _fetch(origin)
            assert origin.open_count == 0
            connections.close()

    _in_loop(loop, test)
