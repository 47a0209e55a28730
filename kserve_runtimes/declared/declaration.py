"""What a declared architecture is made of, whatever library computes it: numpy (here) or PyTorch on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from botshard.bots.architectures import EmbeddingBag, Linear, Mlp, architecture_from_document
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import CallerError, InvalidDocumentError, Problem

__all__ = ["Declared", "batch_shape", "declared_architecture", "dense_layers"]

T = TypeVar("T")

Declared: TypeAlias = Linear | Mlp | EmbeddingBag


def declared_architecture(spec: BotSpec, inputs: Sequence[TensorSpec], /) -> Declared:
    """The architecture of a bot whose model gets `inputs`.

    Raises: InvalidDocumentError where it takes another number of tensors, or other ones.
    """
    architecture = architecture_from_document(spec.model["architecture"])
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        expected = f"one tensor for the model, which is what {architecture.kind} takes"
        raise InvalidDocumentError(f"bot {spec.id}", [Problem.of("inputs", names, expected)])
    if inputs[0].datatype == "BYTES":
        expected = "turned into numbers by a preprocess step: networks take no text"
        raise InvalidDocumentError(f"bot {spec.id}", [Problem.of(f"inputs.{inputs[0].name}", "BYTES", expected)])
    if not isinstance(architecture, Declared):
        raise CallerError(f"no builder for architecture {architecture.kind!r}")
    return architecture


def dense_layers(architecture: Declared, weights: Mapping[str, T], /) -> tuple[list[tuple[T, T | None]], str]:
    """Weight and bias of each dense layer, of `weights` themselves, and the activation between them."""
    if isinstance(architecture, Linear):
        return [(weights["weight"], weights.get("bias"))], "relu"  # there is nothing to activate
    count = len(architecture.layers) - isinstance(architecture, Mlp)
    names = [f"layers.{index}" for index in range(count)]
    return [(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in names], architecture.activation


def batch_shape(layers: Sequence[tuple[Any, Any]], activation: str, /) -> tuple[object, ...]:
    """What networks have in common that may be in one batch: sizes, activation, which layers have a bias."""
    sizes = (layers[0][0].shape[1], *(len(weight) for weight, _ in layers))
    return sizes, activation if len(layers) > 1 else "", tuple(bias is not None for _, bias in layers)
