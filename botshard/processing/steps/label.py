"""`label`: the label of the highest score, and that score."""

from __future__ import annotations

import numpy as np

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters
from botshard.processing.scope import Column, Scope
from botshard.processing.step import Apply, Phase, Step
from botshard.processing.terms import Terms

__all__ = ["STEP", "LabelParameters"]


class LabelParameters(Parameters):
    """One label for each of the model's scores, in their order."""

    labels: Terms
    input: str | None = None
    output: str = "label"
    score: str = "score"


def _compile(parameters: LabelParameters, scope: Scope) -> Apply:
    name = scope.scores(parameters.input)
    labels = scope.terms("labels", parameters.labels)
    scope.label_scores("labels", name, labels)
    output = scope.make("output", parameters.output, Column("BYTES", 1))
    score = scope.make("score", parameters.score, Column("FP32", 1))

    def apply(frame: Frame) -> None:
        scores = frame.scores(name, classes=len(labels))
        best = scores.argmax(axis=1)
        frame.texts[output] = [labels[index] for index in best.tolist()]
        frame.tensors[score] = scores[np.arange(frame.rows), best].astype(np.float32)

    return apply


STEP = Step("label", Phase.POST, LabelParameters, _compile)
