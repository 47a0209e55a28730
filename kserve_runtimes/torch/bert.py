"""BERT's layers by PyTorch, over rows of different lengths without padding: what a token does alone runs packed.

Products and norms know nothing of rows: all tokens of a batch are one matrix. Attention runs for each length of its
own, over views of that matrix. So a batch costs what its tokens cost, and gives the numbers that each row gives alone.
A device on which each call is dear gets lengths rounded up instead (`length_step`), and a mask where that made padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

from botshard.bots.encoder_spec import EncoderSpec

__all__ = ["Bert"]

_Dense = tuple[Tensor, Tensor]
"""Weight and bias."""


@dataclass(frozen=True, slots=True)
class _Layer:
    query: _Dense
    key: _Dense
    value: _Dense
    mixed: _Dense
    mixed_norm: _Dense
    inner: _Dense
    outer: _Dense
    outer_norm: _Dense


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of one (padded) length, which follow each other."""

    begin: int
    """Of their tokens, in the packed matrix."""
    rows: int
    length: int
    mask: Tensor | None
    """`(rows, 1, 1, length)`: true for what is a token; None: everything is."""

    @property
    def end(self) -> int:
        return self.begin + self.rows * self.length


class Bert:
    """Rows of tokens to one vector of length 1 a row, the mean of its tokens' last states."""

    def __init__(
        self, spec: EncoderSpec, weights: Mapping[str, Tensor], /, *, padding: int, length_step: int = 1
    ) -> None:
        """Over `weights` themselves, not copies; they say on which device it runs.

        Args:
            spec: sizes.
            weights: the tensors that the spec names.
            padding: number of the token that fills up rows.
            length_step: rows are filled up to a multiple of it.
        """
        self._heads = spec.heads
        self._width = spec.width
        self._epsilon = spec.epsilon
        self._most_tokens = spec.positions
        self._padding = padding
        self._step = length_step
        self._words = weights["embeddings.word_embeddings.weight"]
        self._places = weights["embeddings.position_embeddings.weight"]
        self._type = weights["embeddings.token_type_embeddings.weight"][0]
        self._norm = _pair(weights, "embeddings.LayerNorm")
        self._layers = [_layer(weights, f"encoder.layer.{index}") for index in range(spec.layers)]

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._words.device

    def padded(self, length: int, /) -> int:
        """To how many tokens a row of this length is filled up."""
        return min(-(-length // self._step) * self._step, self._most_tokens)

    def __call__(self, rows: Sequence[Sequence[int]], /) -> Tensor:
        """`(rows, width)`, in the order of the rows, which are sorted by length.

        Raises: nothing for rows of 1 to `positions` tokens.
        """
        groups, tokens, places = self._packed(rows)
        states = functional.embedding(tokens, self._words)
        states += functional.embedding(places, self._places)
        states += self._type
        states = self._normed(states, self._norm)
        for layer in self._layers:
            mixed = functional.linear(self._attended(states, layer, groups), *layer.mixed)
            states = self._normed(mixed.add_(states), layer.mixed_norm)
            inner = functional.gelu(functional.linear(states, *layer.inner))
            outer = functional.linear(inner, *layer.outer)
            states = self._normed(outer.add_(states), layer.outer_norm)
        return functional.normalize(torch.cat([self._mean(states, group) for group in groups]), dim=1)

    def _packed(self, rows: Sequence[Sequence[int]]) -> tuple[list[_Group], Tensor, Tensor]:
        device = self.device
        groups: list[_Group] = []
        tokens: list[int] = []
        places: list[int] = []
        for length, members in groupby(rows, key=lambda row: self.padded(len(row))):
            begin, count, lengths = len(tokens), 0, []
            for row in members:
                count += 1
                lengths.append(len(row))
                tokens += row
                tokens += [self._padding] * (length - len(row))
                places += range(length)
            mask = None
            if min(lengths) < length:
                counted = torch.arange(length)[None, :] < torch.tensor(lengths)[:, None]
                mask = counted[:, None, None, :].to(device)
            groups.append(_Group(begin, count, length, mask))
        return groups, _moved(tokens, device), _moved(places, device)

    def _attended(self, states: Tensor, layer: _Layer, groups: Sequence[_Group]) -> Tensor:
        query = functional.linear(states, *layer.query)
        key = functional.linear(states, *layer.key)
        value = functional.linear(states, *layer.value)
        for group in groups:
            shape = (group.rows, group.length, self._heads, self._width // self._heads)
            asked, known, held = (
                part[group.begin : group.end].view(shape).transpose(1, 2) for part in (query, key, value)
            )
            mixed = functional.scaled_dot_product_attention(asked, known, held, attn_mask=group.mask)
            # What was asked has been asked: its place takes what was found.
            query[group.begin : group.end].view(shape).copy_(mixed.transpose(1, 2))
        return query

    def _normed(self, states: Tensor, norm: _Dense) -> Tensor:
        return functional.layer_norm(states, (self._width,), *norm, eps=self._epsilon)

    def _mean(self, states: Tensor, group: _Group) -> Tensor:
        rows = states[group.begin : group.end].view(group.rows, group.length, self._width)
        if group.mask is None:
            return rows.mean(dim=1)
        counted = group.mask.view(group.rows, group.length, 1)
        return torch.where(counted, rows, 0.0).sum(dim=1) / counted.sum(dim=1)


def _moved(numbers: Sequence[int], device: torch.device) -> Tensor:
    tensor = torch.tensor(numbers)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _pair(weights: Mapping[str, Tensor], name: str) -> _Dense:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _layer(weights: Mapping[str, Tensor], name: str) -> _Layer:
    return _Layer(
        query=_pair(weights, f"{name}.attention.self.query"),
        key=_pair(weights, f"{name}.attention.self.key"),
        value=_pair(weights, f"{name}.attention.self.value"),
        mixed=_pair(weights, f"{name}.attention.output.dense"),
        mixed_norm=_pair(weights, f"{name}.attention.output.LayerNorm"),
        inner=_pair(weights, f"{name}.intermediate.dense"),
        outer=_pair(weights, f"{name}.output.dense"),
        outer_norm=_pair(weights, f"{name}.output.LayerNorm"),
    )
