"""The declared architectures in PyTorch: weights from a safetensors file, and the function over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import torch
from torch.nn import functional

from botshard.bots.architectures import Architecture, EmbeddingBag, Linear, Mlp
from botshard.oip.errors import InvalidInputError
from botshard.sharding.errors import CallerError

__all__ = ["Forward", "Weights", "build"]

Weights: TypeAlias = Mapping[str, torch.Tensor]
Forward: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

_ACTIVATIONS: Final[Mapping[str, Forward]] = {"relu": torch.relu, "tanh": torch.tanh, "gelu": functional.gelu}


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


def _linear(weights: Weights) -> Forward:
    weight, bias = weights["weight"], weights.get("bias")

    def forward(batch: torch.Tensor) -> torch.Tensor:
        return functional.linear(batch, weight, bias)

    return forward


def _dense(weights: Weights, *, layers: int, activation: str) -> Forward:
    pairs = [(weights[f"layers.{index}.weight"], weights[f"layers.{index}.bias"]) for index in range(layers)]
    hidden, (last_weight, last_bias) = pairs[:-1], pairs[-1]
    activate = _ACTIVATIONS[activation]

    def forward(batch: torch.Tensor) -> torch.Tensor:
        for weight, bias in hidden:
            batch = activate(functional.linear(batch, weight, bias))
        return functional.linear(batch, last_weight, last_bias)

    return forward


def _embedding_bag(architecture: EmbeddingBag, weights: Weights, input_name: str) -> Forward:
    table = weights["embedding.weight"]
    dense = _dense(weights, layers=len(architecture.layers), activation=architecture.activation)
    vocabulary, mode, padding = architecture.vocabulary, architecture.mode, architecture.padding

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= vocabulary):
            raise InvalidInputError(input_name, f"token numbers must lie in 0 … {vocabulary - 1}")
        return dense(functional.embedding_bag(tokens, table, mode=mode, padding_idx=padding))

    return forward
