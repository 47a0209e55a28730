"""gRPC through the router to real replicas: answers, errors, a replica that is killed, tensors bit for bit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import grpc
import numpy as np
import pytest

from botshard.oip.grpc_schema import SERVICE
from botshard.oip.tensors import Tensor
from botshard.sharding.ids import PoolName
from tests.kserve_runtimes.bot_folders import linear_folder, linear_weights
from tests.kserve_runtimes.fleet import Fleet, key_of
from tests.kserve_runtimes.replicas import Program, Replica
from tests.oip.grpc_messages import infer_request, read_answer
from tests.router.fleet import Fleet as RouterFleet
from tests.router.rpc.calling import Failed, Rpc, rpc_router
from tests.waiting import aeventually

KEY = key_of("realtime", "torch")
FIRST, SECOND = PoolName("realtime-one"), PoolName("realtime-two")
ROW = Tensor.of("x", np.array([[1.0, 2.0, 3.0, 4.0]], np.float32))

_TRITON = """
import sys, numpy as np, tritonclient.grpc
rows = np.arange(2000, dtype=np.float32).reshape(500, 4)
with tritonclient.grpc.InferenceServerClient("127.0.0.1:" + sys.argv[1]) as client:
    tensor = tritonclient.grpc.InferInput("x", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    assert client.is_server_ready() and client.is_model_ready("linear")
    sys.stdout.buffer.write(client.infer("linear", [tensor]).as_numpy("y").tobytes())
"""
"""Its messages cannot be in one process with those of KServe's client, which other tests import."""


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Replica, Replica]]:
    """One family in two pools of one replica each."""
    root = tmp_path_factory.mktemp("pools")
    fleet = Fleet(root / "fleet")
    fleet.publish(linear_folder(root / "bots", "linear"), linear_folder(root / "bots", "other", seed=2))
    fleet.publish_table({KEY: [FIRST, SECOND]})
    starter = Program(root / "replicas.log")
    with Replica(starter, fleet, FIRST) as first, Replica(starter, fleet, SECOND) as second:
        fleet.publish_table({KEY: [FIRST, SECOND]}, urls={FIRST: first.url, SECOND: second.url})
        first.wait_ready()
        second.wait_ready()
        yield fleet, first, second
    fleet.close()


@asynccontextmanager
async def _router(fleet: Fleet) -> AsyncIterator[Rpc]:
    async with rpc_router(RouterFleet(Path(fleet.folder / "store"))) as rpc:
        yield rpc


async def test_answers_are_those_of_the_replica(pools: tuple[Fleet, Replica, Replica]) -> None:
    """Raw and typed tensors, the other methods of a bot, and errors with the replica's words."""
    async with _router(pools[0]) as rpc:
        for raw in (True, False):
            answer = await rpc.send(infer_request("linear", ROW, raw=raw, request_id="mine").SerializeToString())
            assert not isinstance(answer, Failed), answer
            response, outputs = read_answer(answer)
            assert response.id == "mine"
            assert np.allclose(outputs["y"].numpy(), ROW.numpy() @ linear_weights(1).T, rtol=1e-5)
        assert rpc.trailing["x-botshard-bot-version"] == "1"
        metadata = await rpc.call("ModelMetadata", name="linear")
        assert [tensor.name for tensor in metadata.inputs] == ["x"]
        assert (await rpc.call("ModelReady", name="linear")).ready
        loaded = await rpc.call("RepositoryModelLoad", model_name="linear")
        assert loaded.isLoaded
        refused = await rpc.call("RepositoryModelUnload", model_name="linear")
        wrong = await rpc.failure(infer_request("linear", raw=True).SerializeToString())
        version = await rpc.failure(infer_request("linear", ROW, raw=True, version="9").SerializeToString())
    assert (refused.code, wrong.code, version.code) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT", "NOT_FOUND")
    assert "x" in wrong.text


async def test_the_clients_of_others_work_unchanged(pools: tuple[Fleet, Replica, Replica]) -> None:
    """Triton's, in a process of its own, and gRPC's own without any description of the service."""

    def ask_plainly(port: int) -> bytes:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            message = infer_request("linear", ROW, raw=True).SerializeToString()
            answer: bytes = channel.unary_unary(f"/{SERVICE}/ModelInfer")(message, timeout=20.0)
            return answer

    async with _router(pools[0]) as rpc:
        triton = await asyncio.create_subprocess_exec(sys.executable, "-c", _TRITON, str(rpc.port), stdout=PIPE)
        said, _ = await triton.communicate()
        plain = await asyncio.to_thread(ask_plainly, rpc.port)
    y = np.frombuffer(said, np.float32).reshape(500, -1)
    rows = np.arange(2000, dtype=np.float32).reshape(500, 4)
    assert np.allclose(y, rows @ linear_weights(1).T, rtol=1e-4, atol=1e-3)
    assert read_answer(plain)[0].model_name == "linear"


async def test_a_killed_replica_fails_no_call(pools: tuple[Fleet, Replica, Replica]) -> None:
    """Its pool is tried, the other one answers, whatever was in flight."""
    fleet, first, _ = pools
    message = infer_request("other", ROW, raw=True).SerializeToString()
    async with _router(fleet) as rpc:
        os.kill(first.pid, signal.SIGSTOP)  # so that calls are in flight there
        answers = asyncio.create_task(_ask_many(rpc, message))
        await aeventually(lambda: _in_flight(rpc))
        first.release()  # the port is closed with the replica
        os.kill(first.pid, signal.SIGKILL)
        found = await answers
    failed = [answer for answer in found if isinstance(answer, Failed)]
    assert failed == []


async def _in_flight(rpc: Rpc) -> bool:
    return any(pool.outstanding for pool in rpc.router.parts.pools if pool.route.name == FIRST)


async def _ask_many(rpc: Rpc, message: bytes) -> list[bytes | Failed]:
    async def ask() -> list[bytes | Failed]:
        return [await rpc.send(message) for _ in range(20)]

    return [answer for answers in await asyncio.gather(*[ask() for _ in range(8)]) for answer in answers]
