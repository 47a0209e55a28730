"""Calls that end early: cancelled, out of time, or with their server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from botshard.oip.tensors import Tensor
from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.grpc_asking import Rpc
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.oip.grpc_messages import infer_request, read_answer
from tests.servers import free_port
from tests.waiting import eventually

_WIDE: Final = 2048
_ROWS: Final = Tensor.of("x", np.ones((4000, 4), np.float32))
"""Takes the wide bot most of a second."""
_ROW: Final = Tensor.of("x", np.ones((1, 4), np.float32))
_SLOW: Final = infer_request("wide", _ROWS, raw=True)
_QUICK: Final = infer_request("linear", _ROW, raw=True)


def _wide_folder(root: Path) -> Path:
    """A bot whose layers are wide, and which takes its time for many rows."""
    folder = root / "wide"
    folder.mkdir()
    layers = [4, _WIDE, _WIDE, 2]
    tensors = {}
    for index, (inputs, outputs) in enumerate(pairwise(layers)):
        tensors[f"layers.{index}.weight"] = np.full((outputs, inputs), 1e-3, np.float32)
        tensors[f"layers.{index}.bias"] = np.zeros((outputs,), np.float32)
    save_file(tensors, folder / "model.safetensors")
    document = {
        "id": "wide",
        "tenant": "acme",
        "poolGroup": "realtime",
        "framework": "torch",
        "model": {
            "format": "safetensors",
            "file": "model.safetensors",
            "architecture": {"name": "mlp", "layers": layers, "activation": "relu"},
        },
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }
    (folder / "bot.yaml").write_text(yaml.safe_dump(document))
    return folder


@dataclass(frozen=True, slots=True)
class World:
    """A replica with a slow bot and a quick one, on one model's thread."""

    replica: Replica
    rpc: Rpc

    def in_flight(self) -> float:
        """Inference requests, as the replica counts them."""
        return self.replica.metric("botshard_in_flight")


@pytest.fixture
def world(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> Iterator[World]:
    """Ready."""
    fleet.publish(linear_folder(tmp_path, "linear"), _wide_folder(tmp_path))
    pool = pool_of("realtime", "torch")
    fleet.publish_table({key_of("realtime", "torch"): [pool]}, request_timeout_s=30.0)
    port = free_port()
    with (
        Replica(torch_zygote, fleet, pool, RUNTIME_GRPC_PORT=str(port)).wait_ready() as replica,
        Rpc(port) as rpc,
    ):
        yield World(replica, rpc)


def _code(call: Any) -> str:
    with pytest.raises(grpc.RpcError):
        call.result(timeout=20)
    code: str = call.code().name
    return code


def test_cancelled_calls_free_their_places(world: World) -> None:
    """Calls that wait behind a slow one are not run once their clients are gone, and others are answered."""
    first = world.rpc.begin(_SLOW)
    waiting = [world.rpc.begin(_SLOW) for _ in range(30)]
    eventually(lambda: world.in_flight() == 31)
    for call in waiting:
        call.cancel()
    eventually(lambda: world.in_flight() <= 1)
    _, outputs = read_answer(first.result(timeout=20))
    assert outputs["y"].shape == (4000, 2)
    # Thirty of them would have taken half a minute.
    assert world.rpc.outputs(_QUICK, timeout=10.0)["y"].shape == (1, 2)
    assert world.replica.metric("botshard_predict_seconds_count") < 10


def test_a_deadline_ends_a_call_that_waits(world: World) -> None:
    """GRPC's own deadline, and the one of a header, whichever is sooner; the replica counts neither any more."""
    first = world.rpc.begin(_SLOW)
    behind = [world.rpc.begin(_SLOW) for _ in range(8)]
    own = world.rpc.begin(_SLOW, timeout=0.2)
    by_header = world.rpc.begin(_SLOW, timeout=20.0, metadata=(("x-request-timeout", "0.2"),))
    assert _code(own) == "DEADLINE_EXCEEDED"
    assert _code(by_header) == "DEADLINE_EXCEEDED"
    assert by_header.details() == "not answered within 0.2 s"
    for call in behind:
        call.cancel()
    assert first.result(timeout=20)
    eventually(lambda: world.in_flight() == 0)


def test_calls_in_flight_are_answered_before_the_end(world: World) -> None:
    """SIGTERM in the middle of a slow call: it is answered, a new one is refused, and the exit code is 0."""
    call = world.rpc.begin(_SLOW)
    eventually(lambda: world.in_flight() == 1)
    os.kill(world.replica.pid, signal.SIGTERM)
    _, outputs = read_answer(call.result(timeout=20))
    assert outputs["y"].shape == (4000, 2)
    assert world.replica.stop(None) == 0
    assert _code(world.rpc.begin(_QUICK, timeout=5.0)) == "UNAVAILABLE"
