"""Clients made by others, through the router to a server of the protocol that is none of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.router.fleet import Fleet
from tests.router.running import running_router
from tests.router.upstreams import Call, plain, upstream


async def _double(call: Call) -> None:
    """A model that doubles FP32 numbers, with the binary extension both ways."""
    if call.method == "GET":
        tensor = {"name": "x", "datatype": "FP32", "shape": [-1]}
        document: dict[str, Any] = {"name": "bot", "platform": "test", "inputs": [tensor], "outputs": [tensor]}
        await call.write(plain(orjson.dumps(document)))
        return
    size = call.headers.get("inference-header-content-length")
    head = orjson.loads(call.body[: int(size)] if size else call.body)
    entry = head["inputs"][0]
    values = (
        np.frombuffer(call.body[int(size) :], np.float32) if size else np.array(entry["data"], np.float32)
    ) * np.float32(2)
    output: dict[str, Any] = {"name": "y", "datatype": "FP32", "shape": entry["shape"]}
    raw = b""
    if head.get("outputs", [{}])[0].get("parameters", {}).get("binary_data"):
        raw = values.tobytes()
        output["parameters"] = {"binary_data_size": len(raw)}
    else:
        output["data"] = values.tolist()
    text = orjson.dumps({"model_name": "bot", "outputs": [output]})
    extra = {"inference_header_content_length": str(len(text))} if raw else {}
    content_type = "application/octet-stream" if raw else "application/json"
    await call.write(plain(text + raw, 200, content_type=content_type, **extra))


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize("compression", [None, "gzip"], ids=["plain", "gzip"])
async def test_tritonclient_asks_a_bot(fleet: Fleet, *, binary: bool, compression: str | None) -> None:
    """Health, metadata, index and inference of the client library, tensors either way."""
    if compression:
        binary = not binary  # the test server does not unpack: only that the bytes arrive is looked at below
    values = np.arange(1000, dtype=np.float32)
    seen: list[Call] = []

    async def answer(call: Call) -> None:
        seen.append(call)
        if call.headers.get("content-encoding"):
            await call.write(plain(b'{"error":"packed"}', 400))
        else:
            await _double(call)

    def ask(url: str) -> Any:
        with InferenceServerClient(url) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("bot")
            assert client.get_server_metadata()["name"] == "botshard-router"
            assert client.get_model_metadata("bot")["inputs"][0]["name"] == "x"
            assert [entry["name"] for entry in client.get_model_repository_index()] == ["bot"]
            tensor = InferInput("x", [1000], "FP32")
            tensor.set_data_from_numpy(values, binary_data=binary)
            wanted = InferRequestedOutput("y", binary_data=binary)
            result = client.infer("bot", [tensor], outputs=[wanted], request_compression_algorithm=compression)
            return result.as_numpy("y")

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            url = f"127.0.0.1:{router.port}"
            if compression:
                with pytest.raises(InferenceServerException, match="packed"):
                    await asyncio.to_thread(ask, url)
                assert seen[-1].headers["content-encoding"] == "gzip"
            else:
                result = await asyncio.to_thread(ask, url)
                np.testing.assert_array_equal(result, values * 2)


async def test_kserves_own_client_asks_a_bot(fleet: Fleet) -> None:
    """Liveness, readiness and inference of the SDK's client, by the V2 protocol."""
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    fleet.publish_bots("bot")
    async with upstream(_double) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
            try:
                assert await client.is_server_live(router.url)
                assert await client.is_server_ready(router.url)
                tensor = InferInput("x", [3], "FP32", data=[1.0, 2.0, 3.0])
                request = InferRequest("bot", [tensor])
                answer = await client.infer(router.url, request, model_name="bot")
            finally:
                await client.close()
    assert answer.outputs[0].data == [2.0, 4.0, 6.0]


async def test_tritonclient_reads_the_routers_errors(fleet: Fleet) -> None:
    """An unknown bot is an error with a text, not one about decoding."""
    fleet.publish_table("http://127.0.0.1:1")
    fleet.publish_bots("bot")

    def ask(url: str) -> None:
        with InferenceServerClient(url) as client:
            tensor = InferInput("x", [1], "FP32")
            tensor.set_data_from_numpy(np.zeros(1, np.float32))
            client.infer("other", [tensor])

    async with running_router(fleet) as router:
        with pytest.raises(InferenceServerException, match="bot 'other' does not exist"):
            await asyncio.to_thread(ask, f"127.0.0.1:{router.port}")


async def test_a_client_that_keeps_its_connection_may(fleet: Fleet) -> None:
    """A thousand requests over one connection, each with its own answer."""
    fleet.publish_bots("bot")
    async with upstream(_double) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            limits = httpx.Limits(max_connections=1)
            async with httpx.AsyncClient(base_url=router.url, limits=limits) as client:
                for number in range(300):
                    inputs = [{"name": "x", "datatype": "FP32", "shape": [1], "data": [number]}]
                    answer = await client.post("/v2/models/bot/infer", json={"inputs": inputs})
                    assert [2.0 * number] == answer.json()["outputs"][0]["data"]
            assert len([state for state in router.parts.pools if state.origin.open_count > 1]) - 1 <= 1
    assert server.connections <= 2
