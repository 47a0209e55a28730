"""Calls over gRPC reach the bot's pool as the bytes that they are, and so do the answers their clients."""

from __future__ import annotations

import asyncio
import json

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from botshard.oip.grpc_schema import SERVICE
from botshard.oip.headers import MESSAGE
from router.limits import Limits
from tests.router.fleet import Fleet, pool
from tests.router.rpc.calling import Failed, answer_of, infer_message, message_answer, rpc_router
from tests.router.upstreams import Call, plain, upstream
from tests.waiting import aeventually

BIG = np.random.default_rng(7).bytes(3 << 20)


async def _echo(call: Call) -> None:
    """The request's message as the tensor of the answer."""
    await call.write(message_answer(answer_of("bot", call.body)))


async def test_a_message_goes_through_byte_for_byte(fleet: Fleet) -> None:
    """Three megabytes both ways, to the path of the bot, as a body of their own type."""
    fleet.publish_bots("bot")
    message = infer_message("bot", BIG, b"", b"\x00\xff", request_id="mine")
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            answer = await rpc.send(message)
    assert answer == answer_of("bot", message)
    [call] = server.calls
    assert (call.method, call.path, call.body) == ("POST", "/v2/models/bot/infer", message)
    assert call.headers["content-type"] == MESSAGE


async def test_metadata_goes_on_and_comes_back(fleet: Fleet) -> None:
    """The client's own and tracing, not what speaks of a connection; the id of a request, pool, epoch and version."""
    fleet.publish_bots("bot")
    said = (
        ("x-request-id", "r-7"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-own", "a b"),
        ("x-own-bin", b"\x00\x01\x02"),
        ("connection", "x-own"),
        ("transfer-encoding", "chunked"),
        ("content-length", "7"),
        ("x-botshard-epoch", "99"),
    )
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            await rpc.send(infer_message("bot"), metadata=said[:4])
            trailing = rpc.trailing
            await rpc.send(infer_message("bot", b"abc", version="1"), metadata=said[4:])
    first, second = server.calls
    assert first.headers["x-request-id"] == "r-7"
    assert first.headers["traceparent"] == said[1][1]
    assert first.headers["x-own"] == "a b"
    assert first.headers["x-own-bin"] == "AAEC"
    assert first.headers["x-botshard-epoch"] == "1"
    assert first.headers["forwarded"] == "for=127.0.0.1;proto=http"
    assert 0 < float(first.headers["x-request-timeout"]) <= 5.0
    assert second.path == "/v2/models/bot/versions/1/infer"
    assert "transfer-encoding" not in second.headers
    assert second.headers["x-botshard-epoch"] == "1"
    assert second.headers["content-length"] == str(len(infer_message("bot", b"abc", version="1")))
    assert trailing["x-request-id"] == "r-7"
    assert trailing["x-botshard-pool"] == str(pool())
    assert (trailing["x-botshard-epoch"], trailing["x-botshard-bot-version"]) == ("1", "1")


async def test_the_other_methods_of_bots_ask_the_pool_what_rest_has_for_them(fleet: Fleet) -> None:
    """Ready, metadata, load and unload, of KServe's field numbers and of Triton's."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
    document = {"name": "bot", "versions": ["1"], "platform": "p", "inputs": [tensor], "outputs": [], "more": None}

    async def answer(call: Call) -> None:
        match call.path:
            case "/v2/models/bot/ready":
                await call.write(plain(b'{"name":"bot","ready":true}', x_botshard_epoch="1"))
            case "/v2/models/bot":
                await call.write(plain(json.dumps(document).encode(), x_botshard_epoch="1"))
            case "/v2/models/broken/ready":
                await call.write(plain(b'{"error":"broken"}', 503, x_botshard_epoch="1", retry_after="5"))
            case _:
                await call.write(plain(b"", x_botshard_epoch="1"))

    fleet.publish_bots("bot", "broken")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            assert (await rpc.call("ModelReady", name="bot")).ready
            assert not (await rpc.call("ModelReady", name="broken")).ready
            metadata = await rpc.call("ModelMetadata", name="bot")
            loaded = await rpc.call("RepositoryModelLoad", model_or_repository="bot")
            unloaded = await rpc.call("RepositoryModelUnload", model_name="bot")
    assert (metadata.name, list(metadata.versions), list(metadata.inputs[0].shape)) == ("bot", ["1"], [-1, 4])
    assert (loaded.model_name, loaded.isLoaded, unloaded.isUnloaded) == ("bot", True, True)
    assert [(call.method, call.path) for call in server.calls[-2:]] == [
        ("POST", "/v2/repository/models/bot/load"),
        ("POST", "/v2/repository/models/bot/unload"),
    ]


async def test_what_is_the_routers_it_answers_itself(fleet: Fleet) -> None:
    """Live, ready, what it is, which bots there are; health of itself and of bots; what it serves."""
    fleet.publish_bots("bot", "other")
    fleet.publish_table("http://127.0.0.1:9")
    async with rpc_router(fleet) as rpc:
        assert (await rpc.call("ServerLive")).live
        assert (await rpc.call("ServerReady")).ready
        assert (await rpc.call("ServerMetadata")).name == "botshard-router"
        index = await rpc.call("RepositoryIndex")
        health = [await _health(rpc.channel, service) for service in ("", SERVICE, "bot", "nobody")]
        listed = rpc.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(
            iter([ServerReflectionRequest(list_services="").SerializeToString()])
        )
        services = ServerReflectionResponse.FromString(await anext(aiter(listed))).list_services_response.service
        listed.cancel()
    assert [(model.name, model.version, model.state) for model in index.models] == [
        ("bot", "1", "READY"),
        ("other", "1", "READY"),
    ]
    assert health == ["SERVING", "SERVING", "SERVING", "NOT_FOUND"]
    assert {SERVICE, "grpc.health.v1.Health"} <= {service.name for service in services}


async def _health(channel: grpc.aio.Channel, service: str) -> str:
    message = HealthCheckRequest(service=service).SerializeToString()
    try:
        answer = await channel.unary_unary("/grpc.health.v1.Health/Check")(message, timeout=20.0)
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return str(HealthCheckResponse.ServingStatus.Name(HealthCheckResponse.FromString(answer).status))


async def test_whoever_watches_is_told_of_the_end(fleet: Fleet) -> None:
    """SERVING at first, NOT_SERVING when the router drains, then the end of the stream."""
    fleet.publish_bots("bot")
    fleet.publish_table("http://127.0.0.1:9")
    async with rpc_router(fleet) as rpc:
        watch = rpc.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        seen = [HealthCheckResponse.FromString(await watch.read()).status]
        rpc.router.parts.server.stop()
        while (message := await watch.read()) is not grpc.aio.EOF:
            seen.append(HealthCheckResponse.FromString(message).status)
    assert seen == [HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING]


async def test_calls_are_counted_with_all_others(fleet: Fleet) -> None:
    """By pool and status, as requests over HTTP; those that no pool had, by the status that HTTP has for them."""
    fleet.publish_bots("bot")
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            for _ in range(3):
                await rpc.send(infer_message("bot"))
            await rpc.send(infer_message("nobody"))
            answered = await rpc.router.metric("botshard_router_requests_total", code="2xx", outcome="answered")
            unserved = await rpc.router.metric("botshard_router_unserved_total", code="404")
            assert all(pool.outstanding == 0 for pool in rpc.router.parts.pools)
    assert (answered, unserved) == (3, 1)


async def test_what_is_in_flight_is_answered_when_the_router_stops(fleet: Fleet) -> None:
    """And a call that comes later is not taken."""
    let_go = asyncio.Event()

    async def slow(call: Call) -> None:
        await let_go.wait()
        await _echo(call)

    fleet.publish_bots("bot")
    async with upstream(slow) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            call = rpc.begin(infer_message("bot"))
            await aeventually(lambda: _has(server.calls))
            rpc.router.parts.server.stop()
            let_go.set()
            answer = await call
            late = await rpc.failure(infer_message("bot"), timeout=5.0)
    assert answer == answer_of("bot", infer_message("bot"))
    assert late.code in ("UNAVAILABLE", "CANCELLED")


async def _has(items: list[Call]) -> bool:
    return bool(items)


async def test_a_message_over_the_limit_is_refused(fleet: Fleet) -> None:
    """RESOURCE_EXHAUSTED; one below it on the same channel is served."""
    fleet.publish_bots("bot")
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet, limits=Limits(max_body_bytes=100_000)) as rpc:
            over = await rpc.failure(infer_message("bot", bytes(200_000)))
            below = await rpc.send(infer_message("bot", bytes(90_000)))
            assert rpc.router.parts.account.held_bytes == 0
    assert over.code == "RESOURCE_EXHAUSTED"
    assert not isinstance(below, Failed)


@pytest.mark.parametrize(
    ("message", "method", "code", "text"),
    [
        pytest.param(infer_message("nobody"), "ModelInfer", "NOT_FOUND", "does not exist", id="an unknown bot"),
        pytest.param(infer_message("a/b"), "ModelInfer", "NOT_FOUND", "does not exist", id="a name with a slash"),
        pytest.param(infer_message(""), "ModelInfer", "INVALID_ARGUMENT", "names no model", id="no bot"),
        pytest.param(b"\x0a\x7f", "ModelInfer", "INVALID_ARGUMENT", "not a ModelInferRequest", id="no message"),
        pytest.param(b"\xff", "ModelReady", "INVALID_ARGUMENT", "not a ModelReadyRequest", id="no message, elsewhere"),
        pytest.param(b"\xff", "RepositoryIndex", "INVALID_ARGUMENT", "RepositoryIndexRequest", id="none of the index"),
        pytest.param(infer_message("bot", version="../x"), "ModelInfer", "INVALID_ARGUMENT", "version", id="a way out"),
        pytest.param(b"", "ModelStreamInfer", "UNIMPLEMENTED", "does not exist", id="a method that there is not"),
    ],
)
async def test_what_cannot_be_forwarded_says_why(
    fleet: Fleet, message: bytes, method: str, code: str, text: str
) -> None:
    """Without a pool being asked."""
    fleet.publish_bots("bot")
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet) as rpc:
            failed = await rpc.failure(message, method=f"/{SERVICE}/{method}")
            wrong_service = await rpc.failure(b"", method="/wrong.Service/ModelInfer")
    assert (failed.code, wrong_service.code) == (code, "UNIMPLEMENTED")
    assert text in failed.text
    assert server.calls == []
