"""`threshold`: a label whose score is too low gives way to a named one, as for questions that are out of scope."""

from __future__ import annotations

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, parameter
from botshard.processing.scope import Scope
from botshard.processing.step import Apply, Phase, Step

__all__ = ["STEP", "ThresholdParameters"]


class ThresholdParameters(Parameters):
    """A score of exactly `min` keeps its label. The score stays what it was."""

    min: float = parameter()
    fallback: str = parameter(shortest=1)
    output: str = "label"
    score: str = "score"


def _compile(parameters: ThresholdParameters, scope: Scope) -> Apply:
    output = scope.made("output", parameters.output, "BYTES")
    score = scope.made("score", parameters.score, "FP32")
    minimum, fallback = parameters.min, parameters.fallback

    def apply(frame: Frame) -> None:
        labels = frame.texts[output]
        scores = frame.tensors[score].tolist()
        frame.texts[output] = [
            label if value >= minimum else fallback for label, value in zip(labels, scores, strict=True)
        ]

    return apply


STEP = Step("threshold", Phase.POST, ThresholdParameters, _compile)
