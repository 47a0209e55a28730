"""Every declared architecture, served, against the same computation in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from safetensors.numpy import save_file

from botshard.bots.architectures import architecture_from_document
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote

Floats = NDArray[np.float32]
POOL = pool_of("realtime", "torch")
ROWS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
TOKENS = np.array([[1, 2, 3], [4, 0, 0], [0, 0, 0]])
BAG: dict[str, Any] = {"name": "embedding-bag", "vocabulary": 6, "dim": 4, "layers": [5, 3]}
CASES: dict[str, dict[str, Any]] = {
    "linear": {"name": "linear", "inputs": 4, "outputs": 3},
    "relu": {"name": "mlp", "layers": [4, 5, 3], "activation": "relu"},
    "tanh": {"name": "mlp", "layers": [4, 5, 5, 3], "activation": "tanh"},
    "gelu": {"name": "mlp", "layers": [4, 5, 3], "activation": "gelu"},
    "bag-mean": {**BAG, "mode": "mean"},
    "bag-sum": {**BAG, "mode": "sum", "padding": None},
}


def _weights(name: str) -> dict[str, Floats]:
    rng = np.random.default_rng(len(name))
    tensors = architecture_from_document(CASES[name]).tensors
    return {tensor.name: rng.normal(0, 1, tensor.shape).astype(np.float32) for tensor in tensors}


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir()
    save_file(_weights(name), folder / "model.safetensors")
    is_bag = name.startswith("bag")
    document = {
        "id": name,
        "tenant": "acme",
        "poolGroup": "realtime",
        "framework": "torch",
        "model": {"format": "safetensors", "file": "model.safetensors", "architecture": CASES[name]},
        "inputs": [{"name": "x", "datatype": "INT64" if is_bag else "FP32", "shape": [-1, -1] if is_bag else [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    }
    (folder / "bot.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def replica(torch_zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A replica with one bot a case."""
    root = tmp_path_factory.mktemp("architectures")
    fleet = Fleet(root / "fleet")
    fleet.publish(*(_folder(root, name) for name in CASES))
    fleet.publish_table({key_of("realtime", "torch"): [POOL]})
    with Replica(torch_zygote, fleet, POOL) as replica:
        yield replica.wait_ready()
    fleet.close()


def _gelu(values: Floats) -> Floats:
    outputs = [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in values.ravel().tolist()]
    return np.array(outputs, dtype=np.float32).reshape(values.shape)


def _dense(weights: dict[str, Floats], batch: Floats, activate: Callable[[Floats], Floats]) -> Floats:
    count = sum(name.startswith("layers.") and name.endswith(".weight") for name in weights)
    for index in range(count):
        batch = batch @ weights[f"layers.{index}.weight"].T + weights[f"layers.{index}.bias"]
        batch = activate(batch) if index < count - 1 else batch
    return batch


def _offline(name: str) -> Floats:
    weights = _weights(name)
    match name:
        case "linear":
            return ROWS @ weights["weight"].T + weights["bias"]
        case "tanh":
            return _dense(weights, ROWS, np.tanh)
        case "gelu":
            return _dense(weights, ROWS, _gelu)
        case "relu":
            return _dense(weights, ROWS, lambda values: np.maximum(values, 0))
    embedded = weights["embedding.weight"][TOKENS]
    if name == "bag-sum":
        return _dense(weights, embedded.sum(axis=1), lambda values: np.maximum(values, 0))
    counted = (TOKENS != 0)[..., np.newaxis]
    means = (embedded * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return _dense(weights, means.astype(np.float32), lambda values: np.maximum(values, 0))


@pytest.mark.parametrize("times", [1, 20], ids=["few rows", "many rows"])
@pytest.mark.parametrize("name", CASES)
def test_a_declared_architecture_computes_what_it_declares(replica: Replica, name: str, times: int) -> None:
    """To 1e-5, padding counted for nothing, and a text of nothing but padding is zeros; whoever computes it."""
    rows, datatype = (TOKENS, "INT64") if name.startswith("bag") else (ROWS, "FP32")
    batch = np.tile(rows, (times, 1))
    tensor = {"name": "x", "datatype": datatype, "shape": list(batch.shape), "data": batch.ravel().tolist()}
    answer = replica.post(f"/v2/models/{name}/infer", {"inputs": [tensor]})
    assert answer.status == 200, answer.body
    served = np.array(answer.json["outputs"][0]["data"]).reshape(3 * times, 3)
    np.testing.assert_allclose(served, np.tile(_offline(name), (times, 1)), atol=1e-5)


@pytest.mark.parametrize("token", [-1, 6])
def test_a_token_outside_the_vocabulary_is_the_clients_mistake(replica: Replica, token: int) -> None:
    """400 that names the tensor and the bounds."""
    tensor = {"name": "x", "datatype": "INT64", "shape": [1, 1], "data": [token]}
    answer = replica.post("/v2/models/bag-mean/infer", {"inputs": [tensor]})
    assert (answer.status, answer.error) == (400, "input 'x': token numbers must lie in 0 … 5")
