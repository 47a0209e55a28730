"""The seam between the core and a framework: bytes on disk in, a model that maps arrays to arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec, TensorSpec

if TYPE_CHECKING:
    from botshard.bots.backbones import Backbones

__all__ = ["Framework", "HeadFramework", "Model", "Together"]


class Model(Protocol):
    """A loaded model. Called from one thread at a time or several, as `RUNTIME_THREADS` says; keeps no state."""

    @property
    def footprint_bytes(self) -> int:
        """Measured bytes of weights, tables and graph."""
        ...

    @property
    def together(self) -> Together | None:
        """What runs this model and others in one batch; models with the same object may be in one. None: nothing."""
        ...

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """Outputs by name for inputs by name, both `(rows, ...)`; one output may have any name.

        Raises: InvalidInputError for values that the model has no meaning for; anything else is the model's failure.
        """
        ...


class Together(Protocol):
    """Runs a batch of rows that belong to several models: those of equal shape, or those on one encoder."""

    def predict(
        self, models: Sequence[Model], inputs: Sequence[Mapping[str, Array]], /
    ) -> Sequence[Mapping[str, Array] | Exception]:
        """What each model makes of its inputs, within 1e-5 of what `Model.predict` gives. Blocks.

        Args:
            models: all have this object as `together`; the same one may be there many times.
            inputs: as `Model.predict` takes them, one for each of `models`, each with any number of rows.

        Returns: for each of `models` its outputs, or what `Model.predict` would have raised: inputs that are wrong
            fail alone.
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


@runtime_checkable
class HeadFramework(Protocol):
    """What a framework has besides `Framework` if bots can be heads on a backbone: an encoder that they share."""

    @property
    def shared_bytes(self) -> int:
        """Measured bytes of the backbones in memory. They are loaded with the first head, and stay."""
        ...

    @property
    def device_bytes(self) -> int | None:
        """Bytes of a GPU's memory that this process uses; None: of none."""
        ...

    @property
    def device_free_bytes(self) -> int | None:
        """Bytes of that GPU's memory that nobody uses; None: it uses none."""
        ...

    def load_head(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec], *, backbones: Backbones) -> Model:
        """As `Framework.load`, of a bot whose spec names a backbone.

        Args:
            spec: the bot's spec.
            folder: its artifact's files.
            inputs: the text that the backbone gets.
            backbones: where the backbone comes from if it is not in memory yet.

        Returns: a model whose footprint is that of the head alone.
        """
        ...
