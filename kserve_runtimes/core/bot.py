"""One version of a bot in memory: its processing and its model, and the way through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Tensor
from botshard.processing.pipeline import Pipeline
from botshard.sharding.catalog import BotSpec, Version
from botshard.sharding.ids import BotId
from kserve_runtimes.core.errors import PredictFailedError
from kserve_runtimes.core.footprint import deep_bytes
from kserve_runtimes.core.model import Model

__all__ = ["LoadedBot"]

_REASON_CHARS: Final = 300


class LoadedBot:
    """A bot that can answer. Immutable; used by any number of requests."""

    __slots__ = ("_model", "_pipeline", "build_s", "footprint_bytes", "id", "spec", "version")

    def __init__(self, *, version: Version, spec: BotSpec, pipeline: Pipeline, model: Model) -> None:
        self.id: BotId = spec.id
        self.version = version
        self.spec = spec
        self._pipeline = pipeline
        self._model = model
        self.footprint_bytes = model.footprint_bytes + deep_bytes(pipeline)
        """Measured bytes of the model and of what its steps hold."""
        self.build_s = 0.0
        """How long it took to make from files at hand, which is what having it again would cost; 0: not measured."""

    @property
    def platform(self) -> str:
        """Framework and format, as model metadata says it: `torch_safetensors`."""
        return f"{self.spec.framework}_{self.spec.model['format']}"

    def predict(self, inputs: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """The declared outputs for inputs that fit the declared ones. Blocks.

        Raises: InvalidInputError; PredictFailedError for whatever else goes wrong within.
        """
        try:
            outputs = self._model.predict(self._pipeline.before(inputs))
            return self._pipeline.after(outputs, inputs)
        except InvalidInputError:
            raise
        except Exception as error:
            raise PredictFailedError(self.id, _shown(error)) from error


def _shown(error: Exception) -> str:
    text = " ".join(str(error).split())
    if not type(error).__module__.startswith("botshard."):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 1] + "…"
