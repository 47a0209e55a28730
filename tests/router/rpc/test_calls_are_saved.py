"""Calls over gRPC are saved by the same means as requests over HTTP, and given up for the same reasons."""

from __future__ import annotations

import asyncio

import pytest

from tests.router.fleet import SLEEPY, Fleet
from tests.router.rpc.calling import Failed, answer_of, infer_message, message_answer, rpc_router
from tests.router.upstreams import Call, plain, upstream
from tests.servers import free_port
from tests.waiting import aeventually

ANSWER = message_answer(answer_of("bot", b"yes"))
MISDIRECTED = plain(b'{"error":"not mine"}', 421, x_botshard_epoch="2")
GATEWAY_503 = plain(b"upstream connect error or disconnect/reset before headers", 503, content_type="text/plain")


def _closed() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def test_a_dead_pool_costs_nothing(fleet: Fleet) -> None:
    """The connection is refused, and the shard's other pool answers."""
    fleet.publish_bots("bot")
    async with upstream(ANSWER) as server:
        fleet.publish_table(_closed(), server.url)
        async with rpc_router(fleet) as rpc:
            answers = [await rpc.send(infer_message("bot")) for _ in range(4)]
    assert answers == [answer_of("bot", b"yes")] * 4


async def test_a_gateway_without_a_replica_is_asked_again(fleet: Fleet) -> None:
    """Its 503 never reaches the client."""

    async def answer(call: Call) -> None:
        await call.write(GATEWAY_503 if len(server.calls) < 4 else ANSWER)

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            assert await rpc.send(infer_message("bot", b"abc")) == answer_of("bot", b"yes")
    assert [call.body for call in server.calls] == [infer_message("bot", b"abc")] * 4


async def test_a_pool_that_is_not_the_bots_any_more_sends_the_call_to_the_right_one(fleet: Fleet) -> None:
    """421 makes the router read the table, which names another pool."""

    async def answer(call: Call) -> None:
        fleet.publish_table(right.url)
        await call.write(MISDIRECTED)

    fleet.publish_bots("bot")
    async with upstream(answer) as wrong, upstream(ANSWER) as right:
        fleet.publish_table(wrong.url)
        async with rpc_router(fleet, poll_interval_s=5.0) as rpc:
            assert await rpc.send(infer_message("bot")) == answer_of("bot", b"yes")
            misdirected = await rpc.router.metric("botshard_router_misdirected_total")
    assert (len(wrong.calls), misdirected) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (plain(b'{"error":"x: shape"}', 400, x_botshard_epoch="1"), "INVALID_ARGUMENT", "x: shape"),
        (plain(b'{"error":"busy"}', 429, x_botshard_epoch="1", retry_after="2"), "RESOURCE_EXHAUSTED", "busy"),
        (plain(b'{"error":"broken"}', 503, x_botshard_epoch="1", retry_after="2"), "UNAVAILABLE", "broken"),
        (plain(b'{"error":"boom"}', 500, x_botshard_epoch="1"), "INTERNAL", "boom"),
        (plain(b"<html>", 500, content_type="text/html"), "INTERNAL", "answered 500: <html>"),
        (plain(b'{"outputs":[]}', 200), "UNAVAILABLE", "does not take gRPC's messages"),
    ],
    ids=["400", "429", "503", "500", "a gateway's", "a pool without gRPC"],
)
async def test_what_a_pool_says_of_an_error_is_passed_on(fleet: Fleet, answer: bytes, code: str, text: str) -> None:
    """With gRPC's code for it, and when to come again."""
    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            failed = await rpc.failure(infer_message("bot"))
    assert (failed.code, text in failed.text) == (code, True), failed
    if b"retry-after" in answer:
        assert failed.trailing["retry-after"] == "2"
        assert failed.trailing["grpc-retry-pushback-ms"] == "2000"


async def test_a_client_that_cancels_ends_the_request_at_the_pool(fleet: Fleet) -> None:
    """And nothing of it is left in flight."""

    async def never(call: Call) -> None:
        await call.gone.wait()

    fleet.publish_bots("bot")
    async with upstream(never) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            call = rpc.begin(infer_message("bot"))

            async def asked() -> bool:
                return bool(server.calls)

            await aeventually(asked)
            call.cancel()
            async with asyncio.timeout(10.0):
                await server.calls[0].gone.wait()
            gone = await rpc.router.metric("botshard_router_requests_total", outcome="client_gone")
            assert all(pool.outstanding == 0 for pool in rpc.router.parts.pools)
    assert gone == 1


@pytest.mark.parametrize("how", ["grpc-timeout", "x-request-timeout", "the group's"])
async def test_nobody_waits_longer_than_the_shortest_deadline(fleet: Fleet, how: str) -> None:
    """Of gRPC, of the header, of the group: DEADLINE_EXCEEDED, and the request at the pool is cancelled."""

    async def never(call: Call) -> None:
        await call.gone.wait()

    fleet.publish_bots("bot")
    async with upstream(never) as server:
        fleet.publish_table(server.url, request_timeout_s=0.4 if how == "the group's" else 5.0)
        async with rpc_router(fleet) as rpc:
            failed = await rpc.failure(
                infer_message("bot"),
                timeout=0.4 if how == "grpc-timeout" else 30.0,
                metadata=(("x-request-timeout", "0.4"),) if how == "x-request-timeout" else (),
            )
            async with asyncio.timeout(10.0):
                await server.calls[0].gone.wait()
            assert await rpc.router.metric("botshard_router_requests_total", outcome="deadline") == 1
    assert failed.code == "DEADLINE_EXCEEDED"
    assert 0 < float(server.calls[0].headers["x-request-timeout"]) <= 0.4


async def test_a_cold_pool_is_waited_for(fleet: Fleet) -> None:
    """A pool at zero gets the group's cold start time besides its request timeout."""

    async def slow(call: Call) -> None:
        await asyncio.sleep(0.5)
        await call.write(ANSWER)

    fleet.publish_bots("bot", key=SLEEPY)
    async with upstream(slow) as server:
        fleet.publish_table(sleepy=[server.url], request_timeout_s=0.2, cold_start_timeout_s=10.0)
        async with rpc_router(fleet) as rpc:
            assert await rpc.send(infer_message("bot")) == answer_of("bot", b"yes")


async def test_a_bot_that_was_just_published_is_found(fleet: Fleet) -> None:
    """The catalog held here does not have it; the store does."""
    fleet.publish_bots("other")
    async with upstream(ANSWER) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet, poll_interval_s=30.0) as rpc:
            fleet.publish_bots("bot")
            assert await rpc.send(infer_message("bot")) == answer_of("bot", b"yes")


async def test_an_answer_that_breaks_off_is_no_answer(fleet: Fleet) -> None:
    """Half a message never reaches the client: it is told that there is none."""

    async def half(call: Call) -> None:
        await call.write(ANSWER[:-3])
        call.close()

    fleet.publish_bots("bot")
    async with upstream(half) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            failed = await rpc.send(infer_message("bot"))
    assert isinstance(failed, Failed)
    assert failed.code == "UNAVAILABLE"
