"""The declared architectures in PyTorch: weights from a safetensors file, and the function over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from botshard.bots.architectures import Architecture, EmbeddingBag, Linear, Mlp
from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Array
from botshard.sharding.errors import CallerError

__all__ = ["Dense", "Forward", "Weights", "build"]

Weights: TypeAlias = Mapping[str, torch.Tensor]
Forward: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

_ACTIVATIONS: Final[Mapping[str, Forward]] = {"relu": torch.relu, "tanh": torch.tanh, "gelu": functional.gelu}
_NUMPY_ACTIVATIONS: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "relu": lambda rows, out: np.maximum(rows, 0.0, out=out),
    "tanh": lambda rows, out: np.tanh(rows, out=out),
}
"""Those that numpy has."""
_FEW_ROWS: Final = 4
"""From eight rows on PyTorch is faster."""
_FEW_PRODUCTS: Final = 600_000
"""Beyond, the way to an operation is little against the operation."""


def build(architecture: Architecture, weights: Weights, /, *, input_name: str) -> Forward:
    """The network as a function `(batch, ...) -> (batch, output_count)`, over `weights` themselves, not copies."""
    match architecture:
        case Linear():
            return _linear(weights)
        case Mlp():
            return _dense(weights, layers=len(architecture.layers) - 1, activation=architecture.activation)
        case EmbeddingBag():
            return _embedding_bag(architecture, weights, input_name)
        case _:
            raise CallerError(f"no PyTorch builder for architecture {architecture.kind!r}")


class Dense:
    """Linear layers with an activation between them, by PyTorch; for a few rows, where there is a way, by numpy."""

    __slots__ = ("_activate", "_arrays", "_layers", "_numpy_activate", "most_rows")

    def __init__(self, layers: Sequence[tuple[torch.Tensor, torch.Tensor | None]], *, activation: str) -> None:
        self._layers = layers
        self._activate = _ACTIVATIONS[activation]
        self._numpy_activate = _NUMPY_ACTIVATIONS.get(activation)
        # Views of the same memory.
        self._arrays = [(weight.numpy().T, None if bias is None else bias.numpy()) for weight, bias in layers]
        weights = sum(weight.numel() for weight, _ in layers)
        by_numpy = self._numpy_activate is not None and all(weight.dtype is torch.float32 for weight, _ in layers)
        self.most_rows = min(_FEW_ROWS, _FEW_PRODUCTS // weights) if by_numpy else 0
        """Up to so many rows `few` is the faster way."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """`(batch, ...) -> (batch, output_count)`."""
        for weight, bias in self._layers[:-1]:
            batch = self._activate(functional.linear(batch, weight, bias))
        weight, bias = self._layers[-1]
        return functional.linear(batch, weight, bias)

    def few(self, rows: Array) -> Array:
        """The same for up to `most_rows` rows: PyTorch's way to an operation costs several times the operation."""
        activate = self._numpy_activate
        last = len(self._arrays) - 1
        for index, (weight, bias) in enumerate(self._arrays):
            rows = rows @ weight
            if bias is not None:
                rows += bias
            if index != last and activate is not None:
                rows = activate(rows, rows)
        return rows


def _linear(weights: Weights) -> Dense:
    return Dense([(weights["weight"], weights.get("bias"))], activation="relu")  # there is nothing to activate


def _dense(weights: Weights, *, layers: int, activation: str) -> Dense:
    pairs = [(weights[f"layers.{index}.weight"], weights[f"layers.{index}.bias"]) for index in range(layers)]
    return Dense(pairs, activation=activation)


def _embedding_bag(architecture: EmbeddingBag, weights: Weights, input_name: str) -> Forward:
    table = weights["embedding.weight"]
    dense = _dense(weights, layers=len(architecture.layers), activation=architecture.activation)
    vocabulary, mode, padding = architecture.vocabulary, architecture.mode, architecture.padding

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= vocabulary):
            raise InvalidInputError(input_name, f"token numbers must lie in 0 … {vocabulary - 1}")
        return dense(functional.embedding_bag(tokens, table, mode=mode, padding_idx=padding))

    return forward
