"""PyTorch's side of training: many small networks in one batched product, written as safetensors or `torch.export`."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from examples.networks import Batches, Floats, Integers, Network, Stack

__all__ = ["TorchTrainer"]


class TorchTrainer:
    """A `Trainer`."""

    def __init__(self, features: Floats) -> None:
        torch.set_num_threads(1)  # the other core is the other framework's
        self._features = torch.from_numpy(features)

    def fit(self, batches: Batches, start: Stack) -> Stack:
        """Adam on the weighted cross entropy of all bots at once."""
        stack = [
            torch.from_numpy(array.copy()).requires_grad_()
            for array in (start.first, start.first_bias, start.second, start.second_bias)
        ]
        padding = torch.from_numpy(batches.padding)
        adam = torch.optim.Adam(stack, fused=True)
        for step, learning_rate in enumerate(batches.learning_rates):
            adam.param_groups[0]["lr"] = learning_rate
            rows, classes, weights = (
                torch.from_numpy(part[:, step]) for part in (batches.rows, batches.classes, batches.weights)
            )
            phrases = self._features[rows.reshape(-1)].view(*rows.shape, -1)
            losses = nn.functional.cross_entropy(
                (_logits(stack, phrases) + padding).flatten(0, 1), classes.flatten(), reduction="none"
            )
            adam.zero_grad()
            ((losses * weights.flatten()).sum() / rows.shape[1]).backward()  # type: ignore[no-untyped-call]
            adam.step()
        return Stack(*(tensor.detach().numpy() for tensor in stack))

    def logits(self, network: Network, rows: Integers) -> Floats:
        """Of the network as it is in memory."""
        stack = [torch.from_numpy(array) for array in network.arrays]
        logits: Floats = _logits(stack, self._features[torch.from_numpy(rows)]).numpy()
        return logits

    def write(self, network: Network, model_format: str, folder: Path) -> None:
        """Writes `model.safetensors` (names as the architecture `mlp` has them) or `model.pt2`."""
        tensors = {
            "layers.0.weight": np.ascontiguousarray(network.first.T),
            "layers.0.bias": network.first_bias,
            "layers.1.weight": np.ascontiguousarray(network.second.T),
            "layers.1.bias": network.second_bias,
        }
        if model_format == "safetensors":
            save_file(tensors, folder / "model.safetensors")
        else:
            _export(network.sizes, tensors, folder / "model.pt2")


def _logits(stack: list[Tensor], phrases: Tensor) -> Tensor:
    first, first_bias, second, second_bias = stack
    hidden = torch.relu(torch.matmul(phrases, first) + first_bias)
    return torch.matmul(hidden, second) + second_bias


def _export(sizes: tuple[int, int, int], tensors: dict[str, Floats], path: Path) -> None:
    features, hidden, classes = sizes
    layers = {"hidden": nn.Linear(features, hidden), "relu": nn.ReLU(), "logits": nn.Linear(hidden, classes)}
    module = nn.Sequential(OrderedDict(layers)).eval()
    names = {"layers.0": "hidden", "layers.1": "logits"}
    module.load_state_dict(
        {
            f"{names[layer]}.{kind}": torch.from_numpy(array)
            for (layer, _, kind), array in ((name.rpartition("."), array) for name, array in tensors.items())
        }
    )
    rows = torch.export.Dim("rows", min=1, max=65536)
    # Two rows: a dimension of one would be taken for a constant.
    program = torch.export.export(module, (torch.zeros(2, features),), dynamic_shapes=({0: rows},))
    torch.export.save(program, path)
