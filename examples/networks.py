"""What both frameworks train and how: networks as numbers, and the batches that several bots learn from at once.

All bots have the same shape up to their number of classes, so that one batched product trains many of them: a bot with
fewer classes than the others has logits that no probability ever reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from examples.hyperparameters import Hyperparameters

__all__ = ["Batches", "Floats", "Integers", "Network", "Stack", "Trainer", "batches_of", "first_stack"]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_NEVER = -1e9
"""A logit whose probability is 0 in float32, and which is still a number."""


@dataclass(frozen=True, slots=True)
class Network:
    """`x → relu(x · first + first_bias) · second + second_bias`, the logits."""

    first: Floats
    """`(features, hidden)`."""
    first_bias: Floats
    second: Floats
    """`(hidden, classes)`."""
    second_bias: Floats

    @property
    def arrays(self) -> list[Floats]:
        """In the order of the fields."""
        return [self.first, self.first_bias, self.second, self.second_bias]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Features, hidden units, classes."""
        return (*self.first.shape, self.second.shape[1])


@dataclass(frozen=True, slots=True)
class Stack:
    """The networks of several bots: the arrays of `Network` with one more dimension in front."""

    first: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats

    @property
    def arrays(self) -> list[Floats]:
        """In the order of the fields."""
        return [self.first, self.first_bias, self.second, self.second_bias]

    def networks(self, class_counts: Sequence[int]) -> list[Network]:
        """Each bot's own network, cut to its classes."""
        return [
            Network(
                self.first[bot],
                self.first_bias[bot, 0],
                np.ascontiguousarray(self.second[bot, :, :count]),
                self.second_bias[bot, 0, :count].copy(),
            )
            for bot, count in enumerate(class_counts)
        ]


@dataclass(frozen=True, slots=True)
class Batches:
    """What several bots learn from, step by step. Arrays are `(bots, steps, rows)`."""

    rows: Integers
    """Where in the features each phrase is."""
    classes: Integers
    weights: Floats
    learning_rates: tuple[float, ...]
    """One a step."""
    padding: Floats
    """`(bots, 1, classes)`: added to the logits; 0 for a bot's own classes."""


class Trainer(Protocol):
    """What a framework does for the bots. It is made with the `(phrases, features)` of every phrase."""

    def fit(self, batches: Batches, start: Stack) -> Stack:
        """The networks after all steps."""
        ...

    def logits(self, network: Network, rows: Integers) -> Floats:
        """What the network says about the phrases at `rows`."""
        ...

    def write(self, network: Network, model_format: str, folder: Path) -> None:
        """Writes `model…` into the bot's folder."""
        ...


def first_stack(bots: int, classes: int, settings: Hyperparameters) -> Stack:
    """Weights before the first step."""
    rng = np.random.default_rng(settings.seed)

    def normal(inputs: int, outputs: int) -> Floats:
        weights = rng.standard_normal((bots, inputs, outputs), dtype=np.float32)
        return weights / np.float32(inputs**0.5)

    return Stack(
        normal(settings.features, settings.hidden),
        np.zeros((bots, 1, settings.hidden), dtype=np.float32),
        normal(settings.hidden, classes),
        np.zeros((bots, 1, classes), dtype=np.float32),
    )


def batches_of(
    lessons: Sequence[tuple[Integers, Integers, Floats]],
    class_counts: Sequence[int],
    settings: Hyperparameters,
    *,
    classes: int,
) -> Batches:
    """The order in which bots see their phrases.

    Args:
        lessons: for each bot the rows of its phrases, their classes and their weights.
        class_counts: for each bot its own number of classes.
        settings: steps, rows a step and learning rate.
        classes: of the widest network.
    """
    rng = np.random.default_rng(settings.seed)
    shape = (settings.steps, settings.batch_rows)
    orders = [_order(rng, len(rows), settings.steps * settings.batch_rows).reshape(shape) for rows, _, _ in lessons]
    rates = [settings.learning_rate * (1 - 0.9 * step / settings.steps) for step in range(settings.steps)]
    own = np.arange(classes) < np.array(class_counts)[:, None, None]
    return Batches(
        rows=np.stack([rows[order] for (rows, _, _), order in zip(lessons, orders, strict=True)]),
        classes=np.stack([known[order] for (_, known, _), order in zip(lessons, orders, strict=True)]),
        weights=np.stack([weights[order] for (_, _, weights), order in zip(lessons, orders, strict=True)]),
        learning_rates=tuple(rates),
        padding=np.where(own, 0, _NEVER).astype(np.float32),
    )


def _order(rng: np.random.Generator, phrases: int, count: int) -> Integers:
    """`count` places: all phrases in some order, then all in another, and so on."""
    passes = -(-count // phrases)
    return np.concatenate([rng.permutation(phrases) for _ in range(passes)])[:count]
