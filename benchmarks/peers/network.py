"""The network: 384-256-16 in PyTorch, or in numpy where a server has no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["numpy_network", "torch_network"]


def torch_network(weights: str) -> Any:
    """Rows in, rows out, both tensors, from an `.npz`."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    layers = [(torch.from_numpy(weight), torch.from_numpy(bias)) for weight, bias in _layers(weights)]

    def run(rows: Any) -> Any:
        with torch.inference_mode():
            for weight, bias in layers[:-1]:
                rows = torch.relu(functional.linear(rows, weight, bias))
            return functional.linear(rows, *layers[-1])

    return run


def numpy_network(weights: str) -> Any:
    """The same on arrays."""
    layers = [(weight.T.copy(), bias) for weight, bias in _layers(weights)]

    def run(rows: Any) -> Any:
        for weight, bias in layers[:-1]:
            rows = np.maximum(rows @ weight + bias, 0)
        weight, bias = layers[-1]
        return rows @ weight + bias

    return run


def _layers(path: str) -> list[tuple[Any, Any]]:
    with np.load(Path(path)) as stored:
        count = sum(name.endswith(".weight") for name in stored.files)
        return [(stored[f"layers.{index}.weight"], stored[f"layers.{index}.bias"]) for index in range(count)]
