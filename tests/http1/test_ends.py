"""How connections end: by the peer, by neglect, and with the server."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import struct
from collections.abc import Callable

import pytest

from botshard.http1.limits import Limits
from tests.http1.serving import Served, get, post, serving
from tests.waiting import aeventually

BOTH = pytest.mark.parametrize("root", ["/hot/a", "/a"], ids=["hot", "application"])


async def _running(served: Served, count: int = 1) -> None:
    async def enough() -> bool:
        return served.events.running >= count

    await aeventually(enough)


async def _stands_still(count: Callable[[], int]) -> None:
    """Until a count has not changed for a tenth of a second: that nothing happens shows in no other way."""

    async def settled() -> bool:
        before = count()
        await asyncio.sleep(0.1)
        return before == count()

    await aeventually(settled)


@BOTH
async def test_a_half_closed_peer_gets_its_answers(root: str) -> None:
    """All that were asked for before it closed its side."""
    async with serving() as served:
        client = await served.connect()
        client.writer.write(post(root, b"one") + get("/hot/slow") + post(root, b"two"))
        client.writer.write_eof()
        assert (await client.answer()).body == b"one"
        await _running(served)
        served.events.release.set()
        assert (await client.answer()).status == 200
        assert (await client.answer()).body == b"two"
        assert await client.rest() == b""


@BOTH
async def test_half_a_request_and_the_end_is_no_request(root: str) -> None:
    """The connection is closed without an answer."""
    async with serving() as served:
        client = await served.connect()
        client.writer.write(post(root, b"hello")[:-1])
        client.writer.write_eof()
        assert await client.rest() == b""


@pytest.mark.parametrize("target", ["/hot/slow", "/wait"])
async def test_a_client_that_is_gone_cancels_its_request(target: str) -> None:
    """What nobody waits for does not run on."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get(target))
        await _running(served)
        raw = client.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        client.writer.transport.abort()

        async def seen() -> bool:
            return served.events.cancelled + served.events.disconnects > 0

        await aeventually(seen)
        await served.no_connection_is_left()


async def test_a_slow_reader_holds_back_the_application() -> None:
    """Of 19 MB only what the sockets' buffers take is made, and all of it arrives once it is read."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get("/large"))
        await _running(served, 2)

        await _stands_still(lambda: served.events.running)
        assert served.events.running < 200
        assert len((await client.answer()).body) == 300 * (64 << 10)


async def test_a_slow_reader_holds_back_the_requests_behind() -> None:
    """Pipelined requests are not answered into memory."""
    async with serving() as served:
        client = await served.connect()
        for _ in range(40):
            client.writer.write(post("/hot/large", b"1000000"))

        await _stands_still(lambda: served.events.over)
        assert served.events.over < 30
        for _ in range(40):
            assert len((await client.answer()).body) == 1_000_000


async def test_a_reader_that_does_not_read_is_cut_off() -> None:
    """Nobody holds an answer for ever."""
    async with serving(Limits(write_timeout_s=0.3)) as served:
        client = await served.connect()
        await client.send(post("/hot/large", b"30000000"))
        await served.no_connection_is_left()


async def test_a_slow_reader_gets_all_of_an_early_answer() -> None:
    """Lingering ends when the answer was read, not in its middle."""
    async with serving(Limits(linger_s=0.1, max_discard_bytes=1000)) as served:
        client = await served.connect()
        await client.send(get("/hot/large", "connection: close", "content-length: 8", method="POST") + b"12000000")
        await client.send(b"x" * 5000)

        async def kept() -> bool:
            await asyncio.sleep(0.3)
            return len(served.server.connections) == 1

        await aeventually(kept)
        assert len((await client.answer()).body) == 12_000_000
        assert await client.rest() == b""


async def test_a_slow_application_holds_back_the_peer() -> None:
    """A body that nobody asks for stays with its sender, up to the buffers, and arrives whole in the end."""
    body = b"x" * 12_000_000
    async with serving() as served:
        client = await served.connect()
        sending = asyncio.ensure_future(client.send(post("/unread", body)))

        async def paused() -> bool:
            (connection,) = served.server.connections
            return connection._reads_paused

        await aeventually(paused)
        assert not sending.done()
        served.events.release.set()
        assert (await client.answer()).body == body
        await sending


async def test_draining_closes_what_is_idle_and_finishes_what_is_not() -> None:
    """A used connection at once, a new one when it has had its time, one with a request after the answer."""
    async with serving(Limits(first_request_s=0.3)) as served:
        used, busy, fresh, late = [await served.connect() for _ in range(4)]
        await used.send(get("/hot/a"))
        await used.answer()
        await busy.send(get("/hot/slow"))
        await _running(served)
        draining = asyncio.ensure_future(served.server.drain(10.0))
        assert await used.rest() == b""
        await late.send(get("/a"))
        answer = await late.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await late.rest() == b""
        assert await fresh.rest() == b""
        assert not draining.done()
        served.events.release.set()
        answer = await busy.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await draining == 0


@pytest.mark.parametrize("target", ["/hot/slow", "/wait"])
async def test_draining_cuts_off_what_takes_too_long(target: str) -> None:
    """After the grace, and says how many; what ran is cancelled."""
    async with serving(Limits(first_request_s=0.05)) as served:
        client = await served.connect()
        await client.send(get(target))
        await _running(served)
        assert await served.server.drain(0.2) == 1
        await served.no_connection_is_left()

        async def seen() -> bool:
            return served.events.cancelled + served.events.disconnects > 0

        await aeventually(seen)


async def test_requests_that_had_arrived_are_answered_when_the_server_ends() -> None:
    """They were sent before anybody could know."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get("/hot/a"))
        await client.answer()
        client.writer.write(get("/hot/b"))
        await served.server.drain(1.0)
        assert (await client.answer()).headers["x-target"] == "/hot/b"
        assert await client.rest() == b""


async def test_no_timer_and_no_task_is_left() -> None:
    """A connection that is over is gone from memory."""
    async with serving(dataclasses.replace(Limits(), keep_alive_s=30.0)) as served:
        client = await served.connect()
        await client.send(get("/hot/a") + get("/a"))
        await client.answer()
        await client.answer()
        (connection,) = served.server.connections
        await client.close()
        await served.no_connection_is_left()
        assert not connection._alarm.is_set
