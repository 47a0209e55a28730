"""What is too large, too slow or no request at all: an answer where one can be given, and an end."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from botshard.http1.limits import Limits
from tests.http1.serving import Client, get, post, serving
from tests.waiting import aeventually

SMALL = Limits(max_body_bytes=1000, max_head_bytes=2000, linger_s=0.3)
BOTH = pytest.mark.parametrize("root", ["/hot/a", "/a"], ids=["hot", "application"])


async def _refused(client: Client, status: int, said: str) -> None:
    """One answer in the protocol's form, and the end."""
    answer = await client.answer()
    assert (answer.status, said in answer.body.decode()) == (status, True), answer
    assert answer.body.startswith(b'{"error":')
    assert answer.headers["connection"] == "close"
    assert await client.rest() == b""


@BOTH
@pytest.mark.parametrize("chunks", [None, 100], ids=["declared", "in chunks"])
async def test_a_body_over_the_limit_is_413(root: str, chunks: int | None) -> None:
    """However it is sent, after the answers before it."""
    async with serving(SMALL) as served:
        client = await served.connect()
        await client.send(post(root, b"x" * 1000, chunks=chunks) + post(root, b"x" * 1001, chunks=chunks))
        assert len((await client.answer()).body) == 1000
        await _refused(client, 413, "larger than 1000 bytes")


@BOTH
async def test_a_client_that_sends_all_before_it_reads_sees_the_413(root: str) -> None:
    """Its body is many times what sockets hold."""
    async with serving(SMALL) as served:
        client = await served.connect()
        await client.send(post(root, b"x" * 20_000_000))
        await _refused(client, 413, "larger than 1000 bytes")


async def _send_for_ever(client: Client) -> None:
    async with asyncio.timeout(10):
        await client.send(get("/hot/a", "content-length: 9000000000000", method="POST"))
        while True:
            await client.send(b"x" * 100_000)


async def test_a_client_that_never_ends_its_body_is_cut_off() -> None:
    """Also when it sends without a pause."""
    async with serving(dataclasses.replace(SMALL, write_timeout_s=0.5)) as served:
        client = await served.connect()
        with pytest.raises(ConnectionError):
            await _send_for_ever(client)


@BOTH
async def test_no_100_continue_for_a_body_over_the_limit(root: str) -> None:
    """The client is told before it sends."""
    async with serving(SMALL) as served:
        client = await served.connect()
        await client.send(get(root, "content-length: 1001", "expect: 100-continue", method="POST"))
        await _refused(client, 413, "larger than 1000 bytes")


@pytest.mark.parametrize("is_dribbled", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    "head",
    [
        pytest.param(get("/hot/" + "x" * 4000), id="target"),
        pytest.param(get("/hot/a", "x-long: " + "x" * 4000), id="value"),
        pytest.param(get("/hot/a", "x" * 4000 + ": x"), id="name"),
        pytest.param(get("/hot/a", *["x: y"] * 1000), id="many headers"),
        pytest.param(b"\r\n" * 4000, id="empty lines"),
        pytest.param(
            get("/hot/a", "transfer-encoding: chunked", method="POST") + b"0\r\nx: " + b"y" * 4000 + b"\r\n\r\n",
            id="trailer",
        ),
    ],
)
async def test_a_head_over_the_limit_is_431(head: bytes, *, is_dribbled: bool) -> None:
    """Whichever part of it is large, and before its end has come."""
    async with serving(SMALL) as served:
        client = await served.connect()
        for start in range(0, len(head), 50 if is_dribbled else len(head)):
            client.writer.write(head[start : start + 50] if is_dribbled else head)
            await asyncio.sleep(0)
        # What the parser has not told of yet cannot be told from a body's framing.
        assert (await client.answer()).status in ({400, 431} if is_dribbled else {431})
        assert await client.rest() == b""


async def test_framing_that_outgrows_its_body_is_400() -> None:
    """Chunk extensions are not a way around the limits."""
    async with serving(SMALL) as served:
        client = await served.connect()
        await client.send(get("/hot/a", "transfer-encoding: chunked", method="POST") + b"1;")
        for _ in range(100):
            client.writer.write(b"x" * 100)
            await asyncio.sleep(0)
        await _refused(client, 400, "framing")


async def test_a_slow_head_is_408() -> None:
    """From its first byte, however many come meanwhile."""
    async with serving(dataclasses.replace(SMALL, head_timeout_s=0.2)) as served:
        client = await served.connect()
        await client.send(b"GET /hot/a HTT")
        await _refused(client, 408, "head was not whole")


@BOTH
async def test_a_slow_body_is_408(root: str) -> None:
    """From its last byte."""
    async with serving(dataclasses.replace(SMALL, body_timeout_s=0.2)) as served:
        client = await served.connect()
        await client.send(post(root, b"hello")[:-1])
        await _refused(client, 408, "no byte of the body")


async def test_a_deadline_is_answered_and_its_task_cancelled() -> None:
    """The connection goes on."""
    async with serving(SMALL) as served:
        client = await served.connect()
        await client.send(get("/hot/wait") + get("/hot/next"))
        assert (await client.answer()).status == 504
        assert (await client.answer()).headers["x-target"] == "/hot/next"
        assert served.events.cancelled == 1


async def test_a_deadline_behind_a_slow_answer_is_answered_in_its_turn() -> None:
    """The request has not even begun."""
    async with serving(SMALL) as served:
        client = await served.connect()
        await client.send(get("/hot/slow") + get("/hot/wait") + get("/hot/next"))

        async def expired() -> bool:
            return served.events.over == 1

        await aeventually(expired)
        served.events.release.set()
        statuses = [(await client.answer()).status for _ in range(3)]
        assert statuses == [200, 504, 200]


async def test_a_deadline_covers_a_body_that_is_still_coming() -> None:
    """The answer says so, and the rest of the body is read and forgotten."""
    async with serving(SMALL) as served:
        client = await served.connect()
        request = post("/hot/wait", b"hello")
        await client.send(request[:-3])
        assert (await client.answer()).status == 504
        await client.send(request[-3:] + get("/hot/next"))
        assert (await client.answer()).headers["x-target"] == "/hot/next"


async def test_an_idle_connection_is_closed() -> None:
    """Without a word; a new one as well as a used one."""
    async with serving(dataclasses.replace(SMALL, keep_alive_s=0.2)) as served:
        fresh, used = await served.connect(), await served.connect()
        await used.send(get("/hot/a"))
        await used.answer()
        assert await fresh.rest() == b""
        assert await used.rest() == b""


@BOTH
@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"POST %b HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", id="both lengths"),
        pytest.param(
            b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n", id="both, reversed"
        ),
        pytest.param(b"POST %b HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc", id="length twice"),
        pytest.param(b"POST %b HTTP/1.1\r\ncontent-length: 3, 3\r\n\r\nabc", id="length as a list"),
        pytest.param(b"POST %b HTTP/1.1\r\ncontent-length: +3\r\n\r\nabc", id="length with a sign"),
        pytest.param(b"POST %b HTTP/1.1\r\ncontent-length: -1\r\n\r\nabc", id="negative length"),
        pytest.param(b"POST %b HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", id="length overflows"),
        pytest.param(b"POST %b HTTP/1.1\r\ncontent-length : 3\r\n\r\nabc", id="space before the colon"),
        pytest.param(b"POST %b HTTP/1.1\r\ntransfer-encoding: identity\r\n\r\nGET /x HTTP/1.1\r\n\r\n", id="identity"),
        pytest.param(b"POST %b HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip, chunked"),
        pytest.param(b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", id="chunked, gzip"),
        pytest.param(b"POST %b HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", id="xchunked"),
        pytest.param(
            b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
            id="two encodings",
        ),
        pytest.param(b"POST %b HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked in HTTP/1.0"),
        pytest.param(b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", id="no chunk size"),
        pytest.param(b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n", id="longer chunk"),
        pytest.param(b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\na\n0\n\n", id="bare line feeds"),
        pytest.param(b"GET %b HTTP/1.1\nhost: x\n\n", id="bare line feeds in the head"),
        pytest.param(b"GET %b HTTP/1.1\r\nx: a\r\n b\r\n\r\n", id="folded header"),
        pytest.param(b"GET %b HTTP/1.1\r\nx: a\x00b\r\n\r\n", id="zero byte"),
        pytest.param(b"GET %b HTTP/2.0\r\n\r\n", id="HTTP/2.0"),
        pytest.param(b"GET %b\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET %b b HTTP/1.1\r\n\r\n", id="space in the target"),
        pytest.param(b"\x16\x03\x01%b\r\n\r\n", id="TLS"),
        pytest.param(b"PRI %b HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"CONNECT %b HTTP/1.1\r\n\r\n", id="CONNECT"),
    ],
)
async def test_what_two_servers_could_read_differently_is_refused(root: str, request_bytes: bytes) -> None:
    """After the requests before it; nothing that follows on the connection is read."""
    async with serving(SMALL) as served:
        client = await served.connect()
        await client.send(get(root) + request_bytes % root.encode() + get("/hot/smuggled"))
        assert (await client.answer()).status == 200
        answer = await client.answer()
        assert answer.status in {400, 501, 505}
        assert answer.body.startswith(b'{"error":')
        assert await client.rest() == b""
