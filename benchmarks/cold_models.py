"""One network, 384-256-16, in every form: `python -m benchmarks.cold_models FOLDER`, in a process of its own.

Writes `mlp.safetensors`, `mlp.pt2` and `mlp.keras`; making the last two imports the frameworks.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

LAYERS = (384, 256, 16)


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1])
    rng = np.random.default_rng(0)
    tensors = {}
    for index, (inputs, outputs) in enumerate(pairwise(LAYERS)):
        tensors[f"layers.{index}.weight"] = rng.normal(0, 0.1, (outputs, inputs)).astype(np.float32)
        tensors[f"layers.{index}.bias"] = rng.normal(0, 0.1, (outputs,)).astype(np.float32)
    save_file(tensors, folder / "mlp.safetensors")
    _write_program(tensors, folder / "mlp.pt2")
    _write_keras(tensors, folder / "mlp.keras")


def _write_program(tensors: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], path: Path) -> None:
    import torch

    layers = []
    for index in range(2):
        layer = torch.nn.Linear(LAYERS[index], LAYERS[index + 1])
        layer.weight.data = torch.from_numpy(tensors[f"layers.{index}.weight"])
        layer.bias.data = torch.from_numpy(tensors[f"layers.{index}.bias"])
        layers.append(layer)
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1]).eval()
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(model, (torch.zeros(3, LAYERS[0]),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)


def _write_keras(tensors: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], path: Path) -> None:
    import keras

    layers = [keras.layers.Dense(LAYERS[1], activation="relu"), keras.layers.Dense(LAYERS[2])]
    model = keras.Sequential([keras.Input((LAYERS[0],)), *layers])
    for index, layer in enumerate(layers):
        layer.set_weights([tensors[f"layers.{index}.weight"].T, tensors[f"layers.{index}.bias"]])
    model.save(path)


if __name__ == "__main__":
    main()
