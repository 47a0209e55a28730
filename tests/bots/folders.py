"""Folders of bots for tests: a good one, to be changed in one place."""

from __future__ import annotations

import copy
import struct
from collections.abc import Mapping
from pathlib import Path

import yaml

from botshard.bots.architectures import architecture_from_document
from botshard.bots.safetensors_file import safetensors_bytes
from botshard.sharding.errors import InvalidDocumentError

__all__ = ["GOOD", "changed", "text_bot", "write_bot", "write_weights"]

GOOD: Mapping[str, object] = {
    "id": "acme-banking",
    "tenant": "acme",
    "poolGroup": "realtime",
    "framework": "torch",
    "model": {
        "format": "safetensors",
        "file": "model.safetensors",
        "architecture": {"name": "mlp", "layers": [4, 3, 2], "activation": "relu"},
    },
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}
"""Takes and gives tensors; its weights are written by `write_weights`."""


def changed(path: str, value: object, document: Mapping[str, object] = GOOD) -> dict[str, object]:
    """A copy of `document` with the value at a dotted path (`inputs.0.name`) set, or removed where it is `...`."""
    copied = copy.deepcopy(dict(document))
    *parents, last = path.split(".")
    place: object = copied
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]  # type: ignore[index]
    if value is ...:
        del place[last]  # type: ignore[attr-defined]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value  # type: ignore[index]
    return copied


def text_bot(**more: object) -> dict[str, object]:
    """A bot that takes text: three words, two labels."""
    return {
        **copy.deepcopy(dict(GOOD)),
        "model": {
            "format": "safetensors",
            "file": "model.safetensors",
            "architecture": {"name": "linear", "inputs": 3, "outputs": 2},
        },
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1, 1]}],
        "preprocess": [{"step": "normalize"}, {"step": "vocabulary", "terms": ["a", "b", "c"]}],
        "postprocess": [{"step": "softmax"}, {"step": "label", "labels": ["no", "yes"]}],
        **more,
    }


def write_weights(path: Path, architecture: Mapping[str, object], *, value: float = 0.5) -> None:
    """A safetensors file with exactly the tensors that the architecture declares."""
    tensors = {}
    for tensor in architecture_from_document(architecture).tensors:
        count = 1
        for size in tensor.shape:
            count *= size
        tensors[tensor.name] = (tensor.shape, struct.pack(f"<{count}f", *[value] * count))
    path.write_bytes(safetensors_bytes(tensors))


def write_bot(folder: Path, document: Mapping[str, object] = GOOD, *, value: float = 0.5) -> Path:
    """`bot.yaml` and, for a sound architecture, its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bot.yaml").write_text(yaml.safe_dump(dict(document), sort_keys=False))
    model = document.get("model")
    if isinstance(model, Mapping) and isinstance(model.get("architecture"), Mapping):
        try:
            write_weights(folder / "model.safetensors", model["architecture"], value=value)
        except InvalidDocumentError:
            return folder
    return folder
