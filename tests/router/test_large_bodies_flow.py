"""Large bodies go on as they come: in order, at the pace of the slower side, and within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.limits import Limits
from router.uploading import ROOM_BYTES
from tests.router.fleet import Fleet
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Call, Upstream, infer_answer, plain, upstream
from tests.router.views import connected, views_of
from tests.waiting import aeventually

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
KEPT = 256 * 1024
LIMITS = Limits(stream_over_bytes=KEPT, max_body_bytes=4 * MIB)
"""What is larger than a quarter of a MiB is streamed here."""
TARGET = b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\n"


def _body(size_bytes: int) -> bytes:
    return (bytes(index % 251 for index in range(997)) * (size_bytes // 997 + 1))[:size_bytes]


def _head(length: int | None, *more: bytes) -> bytes:
    said = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return TARGET + b"\r\n".join([said, *more, b"", b""])


def _framed(data: bytes, *, chunked: bool, last: bool = False) -> bytes:
    if not chunked:
        return data
    return b"%x\r\n%b\r\n" % (len(data), data) + (b"0\r\n\r\n" if last else b"")


async def _mirror(call: Call) -> None:
    await call.write(plain(call.body, x_botshard_epoch="1"))


CHUNKED = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])


@CHUNKED
async def test_a_large_body_goes_on_before_it_is_whole(fleet: Fleet, *, chunked: bool) -> None:
    """The pool has its first part while the client still holds the last; the connections both ways are kept."""
    body = _body(2 * MIB)
    begun = asyncio.Event()

    async def answer(call: Call) -> None:
        begun.set()
        await call.read_body()
        await _mirror(call)

    fleet.publish_bots("bot")
    async with upstream(answer, heads_only=True) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=LIMITS) as router, connected(router.port) as (reader, writer):
            writer.write(_head(None if chunked else len(body)) + _framed(body[:MIB], chunked=chunked))
            await asyncio.wait_for(begun.wait(), 10)
            writer.write(_framed(body[MIB:], chunked=chunked, last=True))
            [view] = await views_of(reader, ["POST"])
            held = router.parts.account.held_bytes
    assert (view.status, view.is_kept, held) == (200, True, 0)
    assert view.body == body
    assert ("transfer-encoding" in server.calls[0].headers) is chunked


async def test_bodies_follow_each_other_on_kept_connections(fleet: Fleet) -> None:
    """Small, large, chunked and pipelined ones come in order, over one connection to the router and one to the pool."""
    bodies = [b"a", _body(600_000), b"b", _body(700_001), _body(KEPT + 1), b"c"]
    chunked = [False, False, True, True, True, False]
    fleet.publish_bots("bot")
    async with upstream(_mirror) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=LIMITS) as router, connected(router.port) as (reader, writer):
            for body, is_chunked in zip(bodies, chunked, strict=True):
                writer.write(_head(None if is_chunked else len(body)))
                writer.write(_framed(body, chunked=is_chunked, last=True))
            views = await views_of(reader, ["POST"] * len(bodies))
    assert [view.body for view in views] == bodies
    assert server.connections == 1


async def test_a_client_that_expects_to_continue_is_told_to(fleet: Fleet) -> None:
    """Once, before any of the body is here."""
    body = _body(MIB)
    fleet.publish_bots("bot")
    async with upstream(_mirror) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=LIMITS) as router, connected(router.port) as (reader, writer):
            writer.write(_head(len(body), b"expect: 100-continue"))
            assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            [view] = await views_of(reader, ["POST"])
    assert (view.status, view.body, view.interim) == (200, body, [])


async def test_both_ways_flow_at_once(fleet: Fleet) -> None:
    """A pool that answers while it reads is passed on while the client still sends."""

    async def answer(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-botshard-epoch: 1\r\n\r\n" % (2 * MIB))
        for _ in range(32):
            await call.write(await call.reader.readexactly(2 * MIB // 32))

    body = _body(2 * MIB)
    fleet.publish_bots("bot")
    async with upstream(answer, heads_only=True) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=LIMITS) as router, connected(router.port) as (reader, writer):
            writer.write(_head(len(body)) + body[:MIB])
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            first = await asyncio.wait_for(reader.readexactly(MIB // 2), 10)
            writer.write(body[MIB:])
            rest = await asyncio.wait_for(reader.readexactly(2 * MIB - len(first)), 10)
    assert first + rest == body


@pytest.mark.parametrize("sent", [MIB // 2, 4 * MIB], ids=["half of it", "all that fits"])
async def test_an_answer_before_the_end_of_a_body_is_passed_on(fleet: Fleet, sent: int) -> None:
    """The client hears why its body is not wanted, whatever it has sent of it; neither connection is used again."""

    async def answer(call: Call) -> None:
        await call.write(plain(b'{"error":"too large for me"}', 413, x_botshard_epoch="1"))
        await call.reader.read()

    fleet.publish_bots("bot")
    async with upstream(answer, heads_only=True) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=LIMITS) as router, connected(router.port) as (reader, writer):
            writer.write(_head(4 * MIB) + _body(sent))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            text = await asyncio.wait_for(reader.readexactly(28), 10)
            assert await aeventually(lambda: _held(router, 0))
            idle = [pool.origin.idle_count for pool in router.parts.pools]
    assert head.startswith(b"HTTP/1.1 413 ")
    assert text == b'{"error":"too large for me"}'
    assert idle == [0]


async def _held(router: RunningRouter, held_bytes: int) -> bool:
    return router.parts.account.held_bytes == held_bytes


async def test_a_client_that_goes_in_the_middle_ends_the_request_at_the_pool(fleet: Fleet) -> None:
    """Half a body is never taken for a whole one."""
    ended = asyncio.Event()

    async def answer(call: Call) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await call.read_body()
            raise AssertionError("the body is whole")
        ended.set()

    fleet.publish_bots("bot")
    async with upstream(answer, heads_only=True) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=LIMITS) as router:
            _, writer = await asyncio.open_connection("127.0.0.1", router.port)
            writer.write(_head(2 * MIB) + _body(MIB))
            assert await aeventually(lambda: _called(server.calls))
            writer.close()
            await asyncio.wait_for(ended.wait(), 10)
            assert await aeventually(lambda: _held(router, 0))
            gone = await router.metric("botshard_router_requests_total", outcome="client_gone")
    assert gone == 1


async def _called(calls: list[Call]) -> bool:
    return bool(calls)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(MIB, b"408", id="a client that stops"),
        pytest.param(4 * MIB, b"504", id="a pool that does not read"),
    ],
)
async def test_the_deadline_tells_who_was_waited_for(fleet: Fleet, sent: int, status: bytes) -> None:
    """408 where the client stood still, 504 where the pool did."""

    async def answer(call: Call) -> None:
        if sent == MIB:
            await call.reader.read()
        else:
            call.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(60)

    fleet.publish_bots("bot")
    async with upstream(answer, heads_only=True) as server:
        fleet.publish_table(server.url, request_timeout_s=0.8)
        limits = Limits(stream_over_bytes=KEPT)
        async with running_router(fleet, limits=limits) as router, connected(router.port) as (reader, writer):
            writer.write(_head(16 * MIB) + _body(sent * 3 if status == b"504" else sent))
            got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert await aeventually(lambda: _held(router, 0))
    assert got.startswith(b"HTTP/1.1 " + status)


async def test_chunks_beyond_the_limit_end_the_request_at_the_pool(fleet: Fleet) -> None:
    """413 for the client, and a pool that never sees an end."""
    ended = asyncio.Event()

    async def answer(call: Call) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            await call.read_body()
        ended.set()

    fleet.publish_bots("bot")
    async with upstream(answer, heads_only=True) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=LIMITS) as router, connected(router.port) as (reader, writer):
            writer.write(_head(None))
            for _ in range(5):
                writer.write(_framed(bytes(MIB), chunked=True))
            got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            await asyncio.wait_for(ended.wait(), 10)
            assert await aeventually(lambda: _held(router, 0))
    assert got.startswith(b"HTTP/1.1 413 ")
    assert server.calls[0].body == b""


async def test_what_is_held_is_accounted_for(fleet: Fleet) -> None:
    """What may be sent again counts until more was sent; a body that the account has no room for is 503."""
    limits = Limits(stream_over_bytes=KEPT, max_body_bytes=4 * MIB, max_held_bytes=KEPT + ROOM_BYTES)

    async def answer(call: Call) -> None:
        await call.reader.readexactly(KEPT // 2 + 3 * MIB + 1)
        await call.write(infer_answer("bot"))

    fleet.publish_bots("bot")
    async with upstream(answer, heads_only=True) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=limits) as router, connected(router.port) as (reader, writer):
            writer.write(_head(4 * MIB) + bytes(KEPT // 2))
            assert await aeventually(lambda: _held(router, KEPT + ROOM_BYTES))
            assert (await router.infer("bot", bytes(MIB))).status_code == 503
            writer.write(bytes(3 * MIB))
            assert await aeventually(lambda: _held(router, ROOM_BYTES))
            writer.write(b"!")
            assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 200 ")


@contextlib.asynccontextmanager
async def _router_process(fleet: Fleet) -> AsyncIterator[tuple[int, int]]:
    """A router of its own process: its port and its id."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, fd = listening.getsockname()[1], listening.fileno()
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ROUTER_STORE_URL": fleet.url}
        environ |= {"ROUTER_LISTEN_FD": str(fd), "ROUTER_DRAIN_TIMEOUT_S": "0"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", cwd=ROOT, env=environ, pass_fds=(fd,), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            yield port, process.pid
        finally:
            process.terminate()
            await process.wait()


def _peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


async def test_many_large_bodies_and_pools_that_do_not_read_stay_small(fleet: Fleet) -> None:
    """Eight bodies of 16 MiB take the router a few MiB each, not 128 together; read at last, they arrive whole."""
    bodies, size_bytes = 8, 16 * MIB
    read = asyncio.Event()
    sent = 0

    async def answer(call: Call) -> None:
        await read.wait()
        await call.read_body()
        await call.write(plain(b"%d" % len(call.body), x_botshard_epoch="1"))

    async def send(port: int) -> bytes:
        nonlocal sent
        async with connected(port) as (reader, writer):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            writer.write(_head(size_bytes))
            for _ in range(size_bytes // 65_536):
                writer.write(bytes(65_536))
                await writer.drain()
                sent += 65_536
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            assert head.startswith(b"HTTP/1.1 200 ")
            return await reader.readexactly(8)

    async def is_stuck() -> bool:
        before = sent
        await asyncio.sleep(0.5)
        return bodies * MIB < before == sent

    fleet.publish_bots("bot")
    server = Upstream(answer, heads_only=True)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # else the kernel takes most of a body
    await server.start(listening)
    fleet.publish_table(server.url, request_timeout_s=60.0)
    async with _router_process(fleet) as (port, pid):
        async with connected(port) as (reader, writer):
            writer.write(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.wait_for(reader.readline(), 15)
        before_bytes = _peak_bytes(pid)
        sending = [asyncio.create_task(send(port)) for _ in range(bodies)]
        assert await aeventually(is_stuck, within_s=30.0)
        stuck_at = sent
        read.set()
        sizes = await asyncio.gather(*sending)
        grown_bytes = _peak_bytes(pid) - before_bytes
    await server.stop()
    assert stuck_at < bodies * size_bytes
    assert sizes == [b"%d" % size_bytes] * bodies
    assert grown_bytes < bodies * 3 * MIB
