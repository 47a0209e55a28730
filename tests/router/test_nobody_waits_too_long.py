"""Deadlines, cold pools, and clients that go away."""

from __future__ import annotations

import asyncio
import time

import pytest

from router.limits import Limits
from tests.router.fleet import SLEEPY, Fleet
from tests.router.running import running_router
from tests.router.upstreams import Call, Upstream, infer_answer, upstream
from tests.waiting import aeventually


async def _never(call: Call) -> None:
    await call.gone.wait()


@pytest.mark.parametrize(
    ("group_s", "client_s"),
    [
        pytest.param(0.3, None, id="the group's"),
        pytest.param(5.0, 0.3, id="the client's is shorter"),
        pytest.param(0.3, 5.0, id="the group's is shorter"),
        pytest.param(5.0, 0.02, id="very short"),
    ],
)
async def test_the_shorter_deadline_ends_the_request(fleet: Fleet, group_s: float, client_s: float | None) -> None:
    """504 in time, and the pool's connection is closed with it."""
    fleet.publish_bots("bot")
    async with upstream(_never) as server:
        fleet.publish_table(server.url, request_timeout_s=group_s)
        async with running_router(fleet) as router:
            started_s = time.monotonic()
            headers = {} if client_s is None else {"x_request_timeout": str(client_s)}
            response = await router.infer("bot", b"{}", **headers)
            took_s = time.monotonic() - started_s
            await asyncio.wait_for(server.calls[0].gone.wait(), 2.0)
            outstanding = [state.outstanding for state in router.parts.pools]
            deadlines = await router.metric("botshard_router_requests_total", outcome="deadline", code="5xx")
    wanted_s = min(group_s, client_s or group_s)
    assert response.status_code == 504
    assert wanted_s - 0.01 <= took_s < wanted_s + 0.5
    assert "not answered within" in response.json()["error"]
    assert (outstanding, deadlines) == ([0], 1)


async def test_a_client_that_has_no_time_does_not_wait_for_a_place(fleet: Fleet) -> None:
    """A bot without a pool gets a moment until it has one, but no longer than its client has."""
    fleet.publish_bots("homeless", key=SLEEPY)
    async with upstream(_never) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            started_s = time.monotonic()
            response = await router.infer("homeless", b"{}", x_request_timeout="0.2")
            took_s = time.monotonic() - started_s
    assert response.status_code == 504
    assert 0.19 <= took_s < 1.5


async def test_who_waits_no_more_takes_no_place_among_those_that_wait(fleet: Fleet) -> None:
    """Requests whose time ends while they wait for a connection make room for others."""
    may_answer = asyncio.Event()

    async def answer(call: Call) -> None:
        await may_answer.wait()
        await call.write(infer_answer("bot"))

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        limits = Limits(max_connections_per_pool=1, max_waiting_per_pool=2)
        async with running_router(fleet, limits=limits) as router:
            first = asyncio.create_task(router.infer("bot", b"{}"))
            await asyncio.wait_for(_asked(server), 5)
            late = [router.infer("bot", b"{}", x_request_timeout="0.1") for _ in range(2)]
            assert {answer.status_code for answer in await asyncio.gather(*late)} == {504}
            patient = [asyncio.create_task(router.infer("bot", b"{}")) for _ in range(2)]
            await asyncio.sleep(0)
            may_answer.set()
            assert [answer.status_code for answer in await asyncio.gather(first, *patient)] == [200] * 3


async def _asked(server: Upstream) -> None:
    async def checked() -> bool:
        return bool(server.calls)

    await aeventually(checked)


async def test_a_pool_that_may_be_at_zero_is_waited_for(fleet: Fleet) -> None:
    """The first answer of a pool that sleeps may take its start besides; the next one may not."""
    fleet.publish_bots("bot", key=SLEEPY)

    async def answer(call: Call) -> None:
        if len(server.calls) == 1:
            await asyncio.sleep(0.6)
            await call.write(infer_answer("bot"))
        else:
            await call.gone.wait()

    async with upstream(answer) as server:
        fleet.publish_table(sleepy=[server.url], request_timeout_s=0.3, cold_start_timeout_s=5.0)
        async with running_router(fleet) as router:
            cold = await router.infer("bot")
            warm = await router.infer("bot")
    assert (cold.status_code, warm.status_code) == (200, 504)


async def test_the_deadline_also_ends_an_answer_that_stalls(fleet: Fleet) -> None:
    """A pool that stops in the middle does not hold the client for ever."""

    async def answer(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await call.gone.wait()

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url, request_timeout_s=0.3)
        async with running_router(fleet) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            writer.write(b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            got = await asyncio.wait_for(reader.read(), 2.0)
            writer.close()
    assert got.endswith(b"half")


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", ""], ids=str)
async def test_a_timeout_that_is_none_is_refused(fleet: Fleet, value: str) -> None:
    """400 that names the header."""
    fleet.publish_bots("bot")
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet) as router:
        response = await router.infer("bot", x_request_timeout=value)
    assert response.status_code == 400
    assert "X-Request-Timeout" in response.json()["error"]


async def test_a_client_that_goes_takes_its_request_along(fleet: Fleet) -> None:
    """The pool sees its connection end, and nothing is left in flight."""
    fleet.publish_bots("bot")
    async with upstream(_never) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            _, writer = await asyncio.open_connection("127.0.0.1", router.port)
            writer.write(b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")

            async def asked() -> bool:
                return bool(server.calls)

            assert await aeventually(asked)
            writer.close()
            await asyncio.wait_for(server.calls[0].gone.wait(), 2.0)

            async def counted() -> bool:
                return await router.metric("botshard_router_requests_total", outcome="client_gone", code="none") == 1

            assert await aeventually(counted)
            assert [state.outstanding for state in router.parts.pools] == [0]


async def test_a_client_that_sends_half_a_body_and_goes_never_reaches_a_pool(fleet: Fleet) -> None:
    """A body is whole before it is sent on."""
    fleet.publish_bots("bot")
    async with upstream(_never) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            _, writer = await asyncio.open_connection("127.0.0.1", router.port)
            writer.write(b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n{}")

            async def held() -> bool:
                return router.parts.account.held_bytes == 200_000

            assert await aeventually(held)
            writer.close()

            async def free() -> bool:
                return router.parts.account.held_bytes == 0

            assert await aeventually(free)
    assert server.calls == []


async def test_a_body_that_does_not_come_is_408(fleet: Fleet) -> None:
    """A client that sends slower than its group's time is cut off before it has reached a pool."""
    fleet.publish_bots("bot")
    async with upstream(_never) as server:
        fleet.publish_table(server.url, request_timeout_s=0.2)
        async with running_router(fleet) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            writer.write(b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{}")
            got = await asyncio.wait_for(reader.read(), 2.0)
            writer.close()
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":' in got
    assert server.calls == []


async def test_who_gives_up_waiting_for_a_connection_leaves_no_gap(fleet: Fleet) -> None:
    """With one connection allowed, a request that ends in the queue does not hold up the next."""
    fleet.publish_bots("bot")
    release = asyncio.Event()

    async def answer(call: Call) -> None:
        await release.wait()
        await call.write(infer_answer("bot"))

    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=Limits(max_connections_per_pool=1)) as router:
            first = asyncio.create_task(router.infer("bot"))

            async def asked() -> bool:
                return bool(server.calls)

            assert await aeventually(asked)
            second = await router.infer("bot", b"{}", x_request_timeout="0.2")
            third = asyncio.create_task(router.infer("bot"))
            release.set()
            statuses = [(await first).status_code, second.status_code, (await third).status_code]
            outstanding = [state.outstanding for state in router.parts.pools]
    assert statuses == [200, 504, 200]
    assert (outstanding, server.connections) == ([0], 1)
