"""One version of a bot in memory: its processing and its model, and the way through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from botshard.oip.codec import Codec
from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Array, Tensor
from botshard.processing.pipeline import Pipeline
from botshard.sharding.catalog import BotSpec, Version
from botshard.sharding.ids import BotId
from kserve_runtimes.core.errors import ModelNotReadyError, PredictFailedError
from kserve_runtimes.core.footprint import deep_bytes
from kserve_runtimes.core.model import Model

__all__ = ["LoadedBot"]

_REASON_CHARS: Final = 300


class LoadedBot:
    """A bot that can answer. Immutable; used by any number of requests."""

    __slots__ = (
        "_pipeline",
        "build_s",
        "codec",
        "fetch_s",
        "footprint_bytes",
        "id",
        "is_foreign",
        "made_s",
        "model",
        "sample_s",
        "shared_bytes",
        "spec",
        "together",
        "version",
    )

    def __init__(self, *, version: Version, spec: BotSpec, pipeline: Pipeline, model: Model) -> None:
        self.id: BotId = spec.id
        self.version = version
        self.spec = spec
        self.model = model
        self.together = model.together
        """What runs it in one batch with others."""
        self.is_foreign = spec.model.get("format") == "kserve"
        """Whether its model is a class of the image, which may do anything: it never runs on the event loop."""
        self.codec = Codec(spec.inputs, spec.outputs, model_name=spec.id, model_version=str(version.number))
        self._pipeline = pipeline
        self.footprint_bytes = model.footprint_bytes + deep_bytes(pipeline)
        """Measured bytes of the model and of what its steps hold."""
        self.shared_bytes = 0
        """Measured bytes of what it shares with the others (a backbone): they count once, in the replica's room."""
        self.build_s = 0.0
        """How long it took to make from files at hand, which is what having it again would cost; 0: not measured."""
        self.fetch_s = 0.0
        """How long its files took to be there; 0: not measured."""
        self.made_s = 0.0
        """How long all the rest of its load took, its warm-up included."""
        self.sample_s = 0.0
        """How long its sample request took once it was warm, without decoding; 0: none ran."""

    @property
    def platform(self) -> str:
        """Framework and format, as model metadata says it: `torch_safetensors`."""
        return f"{self.spec.framework}_{self.spec.model['format']}"

    def predict(self, inputs: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """The declared outputs for inputs that fit the declared ones: all stages for one request. Blocks.

        Raises: what `before`, `after` and `problem` give.
        """
        arrays = self.before(inputs)
        try:
            outputs = self.model.predict(arrays)
        except Exception as error:
            raise self.problem(error) from error
        return self.after(outputs, inputs)

    def before(self, inputs: Mapping[str, Tensor], /) -> Mapping[str, Array]:
        """What the model is given.

        Raises: InvalidInputError; PredictFailedError where a step fails.
        """
        try:
            return self._pipeline.before(inputs)
        except Exception as error:
            raise self.problem(error) from error

    def after(self, outputs: Mapping[str, Array], inputs: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """The declared outputs, of what the model gave for these inputs.

        Raises: InvalidInputError; PredictFailedError where a step fails, or the model does not give what is declared.
        """
        try:
            return self._pipeline.after(outputs, inputs)
        except Exception as error:
            raise self.problem(error) from error

    def problem(self, error: Exception, /) -> Exception:
        """What an error within the model or a step is to the client."""
        if isinstance(error, InvalidInputError | ModelNotReadyError | PredictFailedError):
            return error
        problem = PredictFailedError(self.id, _shown(error))
        problem.__cause__ = error
        return problem


def _shown(error: Exception) -> str:
    text = " ".join(str(error).split())
    if not type(error).__module__.startswith("botshard."):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 1] + "…"
