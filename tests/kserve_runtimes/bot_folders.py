"""Bot folders with real models, small and different from each other by a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors.numpy import save_file

from botshard.bots.onnx_file import linear_onnx_bytes

__all__ = [
    "FEATURES",
    "LABELS",
    "OWN_CLASS",
    "export_folder",
    "keras_folder",
    "linear_folder",
    "linear_weights",
    "onnx_folder",
    "own_folder",
    "saved_model_folder",
    "text_folder",
    "write_tensorflow_models",
]

FEATURES: Final = 256
LABELS: Final = ("greeting", "farewell", "hours")
OWN_CLASS: Final = "tests.kserve_runtimes.own_models:Linear"
_HIDDEN: Final = 16


def _write(folder: Path, document: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bot.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return folder


def _head(bot_id: str, group: str, framework: str, **more: object) -> dict[str, Any]:
    return {"id": bot_id, "tenant": "acme", "poolGroup": group, "framework": framework, **more}


def text_folder(root: Path, bot_id: str, *, group: str = "realtime", seed: int = 1) -> Path:
    """Text in, label and probabilities out: hashed n-grams, a declared MLP in safetensors, softmax, labels."""
    rng = np.random.default_rng(seed)
    folder = root / f"{bot_id}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    sizes = (FEATURES, _HIDDEN, len(LABELS))
    tensors = {}
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        tensors[f"layers.{index}.weight"] = rng.normal(0, 0.5, (outputs, inputs)).astype(np.float32)
        tensors[f"layers.{index}.bias"] = rng.normal(0, 0.1, (outputs,)).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    return _write(
        folder,
        {
            **_head(bot_id, group, "torch"),
            "model": {
                "format": "safetensors",
                "file": "model.safetensors",
                "architecture": {"name": "mlp", "layers": list(sizes), "activation": "relu"},
            },
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
            "outputs": [
                {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(LABELS)]},
            ],
            "preprocess": [
                {"step": "normalize"},
                {"step": "hash-ngrams", "features": FEATURES, "words": [1, 2], "chars": [3, 3]},
            ],
            "postprocess": [{"step": "softmax"}, {"step": "label", "labels": list(LABELS)}],
        },
    )


def linear_weights(seed: int) -> NDArray[np.float32]:
    """Weights `(2, 4)` of the linear bots."""
    return np.random.default_rng(seed).normal(0, 1, (2, 4)).astype(np.float32)


def _tensor_document(bot_id: str, group: str, framework: str, model: dict[str, Any]) -> dict[str, Any]:
    return {
        **_head(bot_id, group, framework),
        "model": model,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }


def linear_folder(root: Path, bot_id: str, *, group: str = "realtime", seed: int = 1) -> Path:
    """Four numbers in, two out: `y = x W^T`, a declared linear layer in safetensors."""
    folder = root / f"{bot_id}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": linear_weights(seed)}, folder / "model.safetensors")
    architecture = {"name": "linear", "inputs": 4, "outputs": 2, "bias": False}
    model = {"format": "safetensors", "file": "model.safetensors", "architecture": architecture}
    return _write(folder, _tensor_document(bot_id, group, "torch", model))


_EXPORT_PROGRAM: Final = """
import sys
import numpy as np, torch
weights, path = np.load(sys.argv[1]), sys.argv[2]
layer = torch.nn.Linear(4, 2, bias=False)
layer.weight.data = torch.from_numpy(weights)
batch = torch.export.Dim("batch", min=1, max=1024)
program = torch.export.export(layer.eval(), (torch.zeros(3, 4),), dynamic_shapes=({0: batch},))
torch.export.save(program, path)
"""

_TENSORFLOW_PROGRAM: Final = """
import sys
import keras, numpy as np, tensorflow as tf
layer = keras.layers.Dense(2, use_bias=False)
model = keras.Sequential([keras.Input((4,)), layer])
class Linear(tf.Module):
    def __init__(self, weights):
        self.weights = tf.Variable(weights.T)
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": tf.matmul(x, self.weights)}
for path in sys.argv[1:]:
    weights = np.load(path)
    layer.set_weights([weights.T])
    model.save(path.replace(".npy", ".keras"))
    module = Linear(weights)
    tf.saved_model.save(module, path.removesuffix(".npy"), signatures={"serving_default": module.__call__})
"""


def _run(program: str, *arguments: Path) -> None:
    """Make a file with a framework in a process of its own, so that the tests' process stays without it."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)], check=True, env=environ, timeout=100
    )


def export_folder(root: Path, bot_id: str, *, group: str = "realtime", seed: int = 1) -> Path:
    """As `linear_folder`, as a `torch.export` program."""
    folder = root / f"{bot_id}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model.pt2").exists():  # it takes seconds
        weights = root / f"{bot_id}-{seed}.npy"
        np.save(weights, linear_weights(seed))
        _run(_EXPORT_PROGRAM, weights, folder / "model.pt2")
    model = {"format": "torch-export", "file": "model.pt2"}
    return _write(folder, _tensor_document(bot_id, group, "torch", model))


def write_tensorflow_models(root: Path, *seeds: int) -> None:
    """The linear models of these seeds, as Keras archives `<seed>.keras` and as SavedModels in folders `<seed>`."""
    root.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        np.save(root / f"{seed}.npy", linear_weights(seed))
    _run(_TENSORFLOW_PROGRAM, *(root / f"{seed}.npy" for seed in seeds))


def keras_folder(root: Path, bot_id: str, archive: Path, *, group: str = "realtime", seed: int = 1) -> Path:
    """As `linear_folder`, as a Keras v3 archive."""
    folder = root / f"{bot_id}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.keras").write_bytes(archive.read_bytes())
    return _write(folder, _tensor_document(bot_id, group, "tensorflow", {"format": "keras", "file": "model.keras"}))


def saved_model_folder(root: Path, bot_id: str, saved: Path, *, group: str = "realtime", seed: int = 1) -> Path:
    """As `linear_folder`, as a SavedModel."""
    folder = root / f"{bot_id}-{seed}"
    for path in saved.rglob("*"):
        if path.is_file():
            target = folder / "model" / path.relative_to(saved)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return _write(folder, _tensor_document(bot_id, group, "tensorflow", {"format": "savedmodel", "file": "model"}))


def onnx_folder(root: Path, bot_id: str, *, group: str = "realtime", seed: int = 1) -> Path:
    """As `linear_folder`, as an ONNX graph."""
    folder = root / f"{bot_id}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(linear_onnx_bytes(linear_weights(seed).T.tolist()))
    return _write(folder, _tensor_document(bot_id, group, "onnx", {"format": "onnx", "file": "model.onnx"}))


def own_folder(
    root: Path, bot_id: str, *, group: str = "realtime", seed: int = 1, own_class: str = OWN_CLASS, payload: str = "v2"
) -> Path:
    """As `linear_folder`, as data of a `kserve.Model` that somebody wrote."""
    folder = root / f"{bot_id}-{seed}"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    save_file({"weight": linear_weights(seed)}, folder / "data" / "linear.safetensors")
    model = {"format": "kserve", "file": "data", "class": own_class, "payload": payload}
    return _write(folder, _tensor_document(bot_id, group, "kserve", model))
