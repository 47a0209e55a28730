"""Any bytes, in any pieces: the same answers as at once, and never a connection that hangs."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from botshard.http1.limits import Limits
from tests.http1.serving import get, post, serving

QUICK = Limits(
    max_body_bytes=5000,
    max_head_bytes=2000,
    head_timeout_s=0.05,
    body_timeout_s=0.05,
    keep_alive_s=0.05,
    linger_s=0.05,
    write_timeout_s=1.0,
)

_targets = st.sampled_from(["/hot/a", "/a", "/hot/b", "/stream", "/early", "/a%20b?c"])
_bodies = st.binary(max_size=300)
_requests = st.one_of(
    st.builds(get, _targets, method=st.sampled_from(["GET", "DELETE", "OPTIONS"])),
    st.builds(post, _targets, _bodies),
    st.builds(post, _targets, st.binary(min_size=1, max_size=300), chunks=st.integers(1, 100)),
)
_streams = st.lists(_requests, min_size=1, max_size=6).map(b"".join)


async def _answers(stream: bytes, cuts: list[int]) -> bytes:
    """Everything that a stream of requests, ended by `connection: close`, is answered with; without dates."""
    async with serving() as served:
        client = await served.connect()
        whole = stream + get("/hot/last", "connection: close")
        for start, end in pairwise([0, *sorted({cut % len(whole) for cut in cuts} - {0}), len(whole)]):
            client.writer.write(whole[start:end])
            await asyncio.sleep(0)
        received = await client.rest()
    return b"\r\n".join(line for line in received.split(b"\r\n") if not line.startswith(b"date: "))


@settings(max_examples=60, deadline=None)
@given(stream=_streams, cuts=st.lists(st.integers(1, 10_000), max_size=40))
def test_splits_change_nothing(stream: bytes, cuts: list[int]) -> None:
    """A pipelined stream in any pieces gives the answers that it gives in one."""
    whole = uvloop.run(_answers(stream, []))
    assert b"x-target: /hot/last" in whole
    assert uvloop.run(_answers(stream, cuts)) == whole


def test_single_bytes_change_nothing() -> None:
    """The smallest pieces there are."""
    stream = post("/hot/a", b"hello") + post("/a", b"hello", chunks=2) + get("/stream") + post("/hot/b", b"x", chunks=1)
    assert uvloop.run(_answers(stream, list(range(1, 1000)))) == uvloop.run(_answers(stream, []))


_pieces = st.one_of(
    st.binary(max_size=60),
    _requests,
    _requests.flatmap(lambda request: st.integers(0, len(request)).map(lambda end: request[:end])),
    st.sampled_from(
        [
            b"\r\n",
            b"GET /hot/a HTTP/1.1\r\n",
            b"transfer-encoding: chunked\r\n",
            b"content-length: 10\r\n",
            b"expect: 100-continue\r\n",
            b"connection: upgrade\r\nupgrade: x\r\n",
            b"0\r\n\r\n",
            b"ffffffff\r\n",
            b"x" * 3000,
        ]
    ),
)


async def _throw(pieces: list[bytes], *, ends: bool) -> None:
    async with serving(QUICK) as served:
        client = await served.connect()
        try:
            for piece in pieces:
                if not client.writer.transport.is_closing():
                    client.writer.write(piece)
                    await asyncio.sleep(0)
            if ends and not client.writer.transport.is_closing():
                client.writer.write_eof()
            await client.rest()
        except OSError:
            pass
        await served.no_connection_is_left()


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(_pieces, max_size=12), ends=st.booleans())
def test_no_bytes_make_a_connection_hang(pieces: list[bytes], *, ends: bool) -> None:
    """Whatever comes, the connection ends by itself, every exchange is over, and nothing is left."""
    uvloop.run(_throw(pieces, ends=ends))


@pytest.mark.parametrize("size", [1, 7, 100, 4096])
def test_a_large_body_is_whole_whatever_its_chunks(size: int) -> None:
    """From one byte a chunk to all in a few."""

    async def ask() -> bytes:
        async with serving() as served:
            client = await served.connect()
            await client.send(post("/hot/a", bytes(range(256)) * 200, chunks=size))
            return (await client.answer()).body

    assert uvloop.run(ask()) == bytes(range(256)) * 200
