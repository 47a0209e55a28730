"""The declared architectures in PyTorch, for a device that numpy has no way to: networks, and many of equal shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from botshard.bots.architectures import EmbeddingBag
from botshard.oip.errors import InvalidInputError
from kserve_runtimes.declared.declaration import batch_shape

__all__ = ["Bag", "Dense", "each_its_own"]

_ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
}


class Dense:
    """Linear layers with an activation between each two: `(rows, inputs) -> (rows, outputs)`."""

    __slots__ = ("activate", "layers", "shape")

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor | None]], *, activation: str) -> None:
        self.layers = tuple(layers)
        self.activate = _ACTIVATIONS[activation]
        self.shape = batch_shape(layers, activation)
        """What networks have in common that may be in one batch."""

    def __call__(self, rows: Tensor) -> Tensor:
        """All rows by this network."""
        for weight, bias in self.layers[:-1]:
            rows = self.activate(functional.linear(rows, weight, bias))
        return functional.linear(rows, *self.layers[-1])


def each_its_own(networks: Sequence[Dense], rows: Tensor, /) -> Tensor:
    """Row i by `networks[i]`, all of one shape: `(rows, inputs) -> (rows, outputs)`.

    Each layer is one batched product over the networks' weights, put together on the device: there memory is fast and a
    call is dear, so that a loop over the networks would take longer.
    """
    last = len(networks[0].layers) - 1
    values = rows[:, :, None]
    for index in range(last + 1):
        layers = [network.layers[index] for network in networks]
        values = torch.bmm(torch.stack([weight for weight, _ in layers]), values)
        biases = [bias for _, bias in layers if bias is not None]
        if biases:
            values += torch.stack(biases)[:, :, None]
        if index != last:
            values = networks[0].activate(values)
    return values[:, :, 0]


class Bag:
    """Token numbers → the mean or sum of their embeddings: `(rows, tokens) -> (rows, dim)`."""

    def __init__(self, architecture: EmbeddingBag, table: Tensor, *, input_name: str) -> None:
        self._table = table
        self._vocabulary, self._mode, self._padding = architecture.vocabulary, architecture.mode, architecture.padding
        self._input_name = input_name

    def __call__(self, tokens: Tensor) -> Tensor:
        """Raises: InvalidInputError for numbers that are no tokens."""
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self._vocabulary):
            raise InvalidInputError(self._input_name, f"token numbers must lie in 0 … {self._vocabulary - 1}")
        return functional.embedding_bag(tokens, self._table, mode=self._mode, padding_idx=self._padding)
