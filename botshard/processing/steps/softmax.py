"""`softmax`: scores without bounds to probabilities that sum to 1."""

from __future__ import annotations

import numpy as np

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, parameter
from botshard.processing.scope import Column, Scope
from botshard.processing.step import Apply, Phase, Step

__all__ = ["STEP", "SoftmaxParameters"]


class SoftmaxParameters(Parameters):
    """A `temperature` above 1 makes the probabilities more even, below 1 less."""

    input: str | None = None
    temperature: float = parameter(default=1.0, above=0)
    output: str = "probabilities"


def _compile(parameters: SoftmaxParameters, scope: Scope) -> Apply:
    name = scope.scores(parameters.input)
    output = scope.make("output", parameters.output, Column("FP32", None))
    scope.scores_name = output
    temperature = np.float32(parameters.temperature)

    def apply(frame: Frame) -> None:
        logits = frame.scores(name).astype(np.float32) / temperature
        logits -= logits.max(axis=1, keepdims=True)  # so that nothing overflows
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        frame.tensors[output] = logits

    return apply


STEP = Step("softmax", Phase.POST, SoftmaxParameters, _compile)
