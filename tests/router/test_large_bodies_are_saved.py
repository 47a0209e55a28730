"""A large body is sent again while all that any pool got of it is still here, and never after."""

from __future__ import annotations

import asyncio

import pytest

from router.limits import Limits
from tests.router.fleet import Fleet
from tests.router.running import running_router
from tests.router.test_large_bodies_flow import CHUNKED, KEPT, MIB, _body, _framed, _head
from tests.router.test_tries_are_budgeted import _closed_port
from tests.router.upstreams import Call, plain, upstream
from tests.router.views import connected, views_of
from tests.waiting import aeventually

LIMITS = Limits(stream_over_bytes=KEPT)


async def _mirror(call: Call) -> None:
    await call.write(plain(call.body, x_botshard_epoch="1"))


@CHUNKED
async def test_a_pool_that_cannot_be_reached_costs_nothing(fleet: Fleet, *, chunked: bool) -> None:
    """A refused connection has taken nothing of the body."""
    body = _body(2 * MIB)
    fleet.publish_bots("bot")
    async with upstream(_mirror) as server:
        fleet.publish_table(_closed_port(), server.url)
        async with running_router(fleet, limits=LIMITS) as router, connected(router.port) as (reader, writer):
            writer.write(_head(None if chunked else len(body)) + _framed(body, chunked=chunked, last=True))
            [view] = await views_of(reader, ["POST"])
            retries = await router.metric("botshard_router_retries_total", cause="connect")
    assert (view.status, view.body, retries) == (200, body, 1)


@CHUNKED
@pytest.mark.parametrize("way", ["reset", "502", "421"])
async def test_what_is_kept_is_sent_again(fleet: Fleet, way: str, *, chunked: bool) -> None:
    """While the pool had no more of the body than is kept here, the next try has all of it."""
    body = _body(MIB)
    first = KEPT + 1000
    failed = asyncio.Event()

    async def answer(call: Call) -> None:
        if len(server.calls) == 1:
            if chunked:
                await call.reader.readuntil(b"\r\n")
            await call.reader.readexactly(first)
            failed.set()
            match way:
                case "reset":
                    call.reset()
                case "502":
                    await call.write(plain(b"dial tcp: connection refused", 502, content_type="text/plain"))
                case _:
                    await call.write(plain(b'{"error":"not mine"}', 421, x_botshard_epoch="1"))
            return
        await call.read_body()
        await _mirror(call)

    fleet.publish_bots("bot")
    async with upstream(answer, heads_only=True) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=LIMITS) as router, connected(router.port) as (reader, writer):
            writer.write(_head(None if chunked else len(body)) + _framed(body[:first], chunked=chunked))
            await asyncio.wait_for(failed.wait(), 10)
            assert await aeventually(lambda: _has_calls(server.calls, 2))
            writer.write(_framed(body[first:], chunked=chunked, last=True))
            [view] = await views_of(reader, ["POST"])
    assert (view.status, view.body) == (200, body)
    assert len(server.calls) == 2


async def _has_calls(calls: list[Call], count: int) -> bool:
    return len(calls) >= count


@pytest.mark.parametrize(
    ("way", "status"),
    [pytest.param("reset", 502, id="reset"), pytest.param("502", 503, id="502"), pytest.param("404", 404, id="404")],
)
async def test_what_is_not_kept_is_never_sent_again(fleet: Fleet, way: str, status: int) -> None:
    """Beyond that the client has the error, and the pool's 404 as it is; half a body is sent to nobody."""
    body = _body(2 * MIB)

    async def answer(call: Call) -> None:
        await call.read_body()
        match way:
            case "reset":
                call.reset()
            case "502":
                await call.write(plain(b"dial tcp: connection refused", 502, content_type="text/plain"))
            case _:
                await call.write(plain(b'{"error":"no bot"}', 404, x_botshard_epoch="1"))

    fleet.publish_bots("bot")
    async with upstream(answer, heads_only=True) as server, upstream(_mirror) as other:
        fleet.publish_table(server.url, other.url)
        async with running_router(fleet, limits=LIMITS) as router, connected(router.port) as (reader, writer):
            writer.write(_head(len(body)) + body)
            [view] = await views_of(reader, ["POST"])
            held = router.parts.account.held_bytes
    assert (view.status, view.is_kept, held) == (status, True, 0)
    assert (len(server.calls), len(other.calls)) == (1, 0)
