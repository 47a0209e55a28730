"""The seam between the core and a framework: bytes on disk in, a model that maps arrays to arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec, TensorSpec

__all__ = ["Framework", "Model"]


class Model(Protocol):
    """A loaded model. Called from one thread at a time or several, as `RUNTIME_THREADS` says; keeps no state."""

    @property
    def footprint_bytes(self) -> int:
        """Measured bytes of weights, tables and graph."""
        ...

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """Outputs by name for inputs by name, both `(rows, ...)`; one output may have any name.

        Raises: InvalidInputError for values that the model has no meaning for; anything else is the model's failure.
        """
        ...


class Framework(Protocol):
    """What loads models. One object a process; made after the fork, since frameworks start threads when used."""

    name: str

    def load(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec]) -> Model:
        """The model of a bot whose files are in `folder` and were checked; blocks, called from several threads.

        Args:
            spec: the bot's spec.
            folder: its artifact's files.
            inputs: what the model gets, after the bot's preprocessing, in order.

        Raises: anything; it becomes the reason of that bot's failure.
        """
        ...
