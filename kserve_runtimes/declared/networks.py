"""The declared architectures as functions of arrays, for one bot and for many of equal shape in one batch.

A batch stands in columns, `(units, rows)`: a layer is then `weight @ columns`, which BLAS does faster than
`rows @ weight.T` from two rows on, in the order that the file has. Numpy takes a third of PyTorch's time for a row and
no more than PyTorch's for a hundred (`docs/performance.md`), so nothing here waits for a framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from botshard.bots.architectures import EmbeddingBag
from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Array
from kserve_runtimes.declared.activations import ACTIVATIONS
from kserve_runtimes.declared.declaration import batch_shape

__all__ = ["Bag", "Dense", "each_its_own"]

Weights: TypeAlias = Mapping[str, Array]

_FLOAT: Final = np.dtype(np.float32)


class Dense:
    """Linear layers with an activation between each two: `(rows, inputs) -> (rows, outputs)`."""

    __slots__ = ("activate", "layers", "shape")

    def __init__(self, layers: Sequence[tuple[Array, Array | None]], *, activation: str) -> None:
        self.layers = tuple((weight, bias, None if bias is None else bias[:, None]) for weight, bias in layers)
        """Weight `(out, in)`, and the bias as a vector and as a column."""
        self.activate = ACTIVATIONS[activation]
        self.shape = batch_shape(layers, activation)
        """What networks have in common that may be in one batch."""

    def __call__(self, rows: Array) -> Array:
        """All rows by this network."""
        if len(rows) == 1:
            return self._one(rows[0])[None]
        columns = rows.T
        last = len(self.layers) - 1
        for index, (weight, _, bias) in enumerate(self.layers):
            columns = weight @ columns
            if bias is not None:
                columns += bias
            if index != last:
                columns = self.activate(columns)
        return columns.T

    def _one(self, values: Array) -> Array:
        last = len(self.layers) - 1
        for index, (weight, bias, _) in enumerate(self.layers):
            values = weight.dot(values)
            if bias is not None:
                values += bias
            if index != last:
                values = self.activate(values)
        return values


def each_its_own(networks: Sequence[Dense], rows: Sequence[Array], /) -> Array:
    """`rows[i]` `(inputs,)` by `networks[i]`, all of one shape; gives `(rows, outputs)`.

    A row needs all of its network's weights, so memory is what takes the time: they are read where they are, once, and
    not gathered into a stack first (which is what a batched product would need). The rest is done for all at once.
    """
    last = len(networks[0].layers) - 1
    values: Sequence[Array] | Array = rows
    for index in range(last + 1):
        layers = [network.layers[index] for network in networks]
        found = np.array([layer[0].dot(row) for layer, row in zip(layers, values, strict=True)])
        if layers[0][1] is not None:
            found += np.array([layer[1] for layer in layers])
        values = found if index == last else networks[0].activate(found)
    return found


class Bag:
    """Token numbers → the mean or sum of their embeddings: `(rows, tokens) -> (rows, dim)`."""

    __slots__ = ("_input_name", "_mode", "_padding", "_table", "_vocabulary")

    def __init__(self, architecture: EmbeddingBag, table: Array, *, input_name: str) -> None:
        self._table = table
        self._vocabulary, self._mode, self._padding = architecture.vocabulary, architecture.mode, architecture.padding
        self._input_name = input_name

    def __call__(self, tokens: Array) -> Array:
        """Raises: InvalidInputError for numbers that are no tokens."""
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self._vocabulary):
            raise InvalidInputError(self._input_name, f"token numbers must lie in 0 … {self._vocabulary - 1}")
        found = np.empty((len(tokens), self._table.shape[1]), _FLOAT)
        for row, numbers in enumerate(tokens):
            counted = numbers if self._padding is None else numbers[numbers != self._padding]
            self._table.take(counted, axis=0).sum(axis=0, out=found[row])
            if self._mode == "mean" and len(counted):
                found[row] /= np.float32(len(counted))
        return found
