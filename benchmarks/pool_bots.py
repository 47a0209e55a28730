"""Bots of the pool's benchmarks, a store and a table that has them, and what they are asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from botshard.bots.publish import publish
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import Epoch, Framework, GroupName
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.files import FileStore
from botshard.store.table import TableStore

__all__ = [
    "MLP_LAYERS",
    "Published",
    "infer_request",
    "mlp_outputs",
    "mlp_requests",
    "mlp_rows",
    "publish_all",
    "text_requests",
    "texts",
    "write_mlp",
    "write_text_bot",
]

MLP_LAYERS = (384, 256, 16)
"""0.392 MiB of float32."""
_TEXT_LAYERS = (2048, 64, 7)
_ROWS = 16
_KEY = FamilyKey(GroupName("realtime"), Framework("torch"))
_TEXTS = (
    "What time do you open on Saturday morning?",
    "I'd like to cancel order 48213 please",
    "can I move my appointment to next Tuesday at 14:30",
    "the card payment of 29.99 EUR failed twice today!!",
    "hello there",
    "How do I change the address for invoice no. 2024-117?",
    "my parcel 00340434161094042557 has not arrived yet",
    "thanks, that was all I needed",
)
_LABELS = ("hours", "cancel", "move", "payment", "greeting", "address", "parcel")


@dataclass(frozen=True, slots=True)
class Published:
    """A store on disk, and the settings of a replica that serves what is in it."""

    folder: Path
    environ: dict[str, str]


def write_mlp(folder: Path, *, seed: int = 0) -> Path:
    """A bot of one network, named as its folder; its weights' file."""
    weights = _write_weights(folder, MLP_LAYERS, seed)
    document = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, MLP_LAYERS[0]]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, MLP_LAYERS[-1]]}],
    }
    _write_bot(folder, MLP_LAYERS, document)
    return weights


def write_text_bot(folder: Path) -> None:
    """Regular expressions, hashed n-grams, a network, labels: what most bots are."""
    _write_weights(folder, _TEXT_LAYERS, 1)
    document = {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(_LABELS)]},
        ],
        "preprocess": [
            {"step": "normalize"},
            {"step": "regex-replace", "pattern": r"\d+(?:[.:]\d+)?", "with": "#"},
            {"step": "regex-replace", "pattern": "[?!.,]", "with": " "},
            {"step": "hash-ngrams", "features": _TEXT_LAYERS[0], "words": [1, 2], "chars": [3, 3]},
        ],
        "postprocess": [{"step": "softmax"}, {"step": "label", "labels": list(_LABELS)}],
    }
    _write_bot(folder, _TEXT_LAYERS, document)


def _write_weights(folder: Path, layers: Sequence[int], seed: int) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    tensors = {}
    for index, (inputs, outputs) in enumerate(pairwise(layers)):
        tensors[f"layers.{index}.weight"] = rng.normal(0, 0.1, (outputs, inputs)).astype(np.float32)
        tensors[f"layers.{index}.bias"] = rng.normal(0, 0.1, (outputs,)).astype(np.float32)
    path = folder / "model.safetensors"
    save_file(tensors, path)
    return path


def _write_bot(folder: Path, layers: Sequence[int], document: dict[str, Any]) -> None:
    architecture = {"name": "mlp", "layers": list(layers), "activation": "relu"}
    head = {
        "id": folder.name,
        "tenant": "acme",
        "poolGroup": "realtime",
        "framework": "torch",
        "model": {"format": "safetensors", "file": "model.safetensors", "architecture": architecture},
    }
    (folder / "bot.yaml").write_text(yaml.safe_dump({**head, **document}))


def publish_all(folder: Path, bots: Iterable[Path], *, url: str = "http://127.0.0.1:9") -> Published:
    """A new store in `folder` with these bots, and a table of one pool, whose replica is at `url`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "store").mkdir()
    store = FileStore(folder / "store")
    results = publish(store, list(bots), now_s=int(time.time()))
    if any(result.problems for result in results):
        raise RuntimeError(f"the bots cannot be published: {[result for result in results if result.problems][:3]}")
    family = family_id(_KEY)
    pool = pool_name(_KEY.group, family, 0)
    routes = FamilyRoutes(family, _KEY, 0, {pool: url}, ((pool,),))
    table = RoutingTable(Epoch(1), {_KEY.group: GroupRoute(True, 10.0, 30.0)}, {family: routes})
    TableStore(store).publish(table, previous_etag=None)
    store.close()
    environ = {
        "RUNTIME_POOL": pool,
        "RUNTIME_REPLICA": "r-1",
        "RUNTIME_FRAMEWORK": "torch",
        "RUNTIME_STORE_URL": f"file://{folder}/store",
        "RUNTIME_CACHE_DIR": str(folder / "cache"),
        "RUNTIME_LOG_LEVEL": "WARNING",
    }
    return Published(folder, environ)


def mlp_rows() -> NDArray[np.float32]:
    """Some different rows, with as many digits as a float32 has."""
    return np.random.default_rng(1).normal(size=(_ROWS, MLP_LAYERS[0])).astype(np.float32)


def mlp_outputs(weights: Path, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a network of this file makes of rows."""
    layers = load_file(weights)
    hidden = np.maximum(rows @ layers["layers.0.weight"].T + layers["layers.0.bias"], 0)
    outputs: NDArray[np.float32] = hidden @ layers["layers.1.weight"].T + layers["layers.1.bias"]
    return outputs


def mlp_requests(bot: str = "mlp", *, binary: bool = False) -> list[bytes]:
    """One row a request, as JSON or as binary tensors both ways."""
    requests = []
    for row in mlp_rows():
        tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": (1, len(row))}
        if binary:
            tensor["parameters"] = {"binary_data_size": row.nbytes}
            document = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
            requests.append(infer_request(bot, orjson.dumps(document), row.tobytes()))
        else:
            document = {"inputs": [{**tensor, "data": row}]}
            requests.append(infer_request(bot, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)))
    return requests


def texts() -> tuple[str, ...]:
    """What people write to the text bot."""
    return _TEXTS


def text_requests(bot: str) -> list[bytes]:
    """One text a request."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1]}
    return [infer_request(bot, orjson.dumps({"inputs": [{**tensor, "data": [text]}]})) for text in _TEXTS]


def infer_request(bot: str, head: bytes, tail: bytes = b"", *, path: str | None = None) -> bytes:
    """A whole request, its headers as many as an HTTP client sends; `tail`: binary tensors behind the JSON."""
    lines = [
        f"POST {path or f'/v2/models/{bot}/infer'} HTTP/1.1",
        "host: 127.0.0.1",
        "user-agent: load",
        "accept: */*",
        f"content-type: {'application/octet-stream' if tail else 'application/json'}",
        *([f"inference-header-content-length: {len(head)}"] if tail else []),
        f"content-length: {len(head) + len(tail)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + head + tail
