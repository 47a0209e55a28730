"""`top-k`: the k highest scores and their labels, the highest first."""

from __future__ import annotations

import numpy as np

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, parameter
from botshard.processing.scope import Column, Scope
from botshard.processing.step import Apply, Phase, Step
from botshard.processing.terms import Terms

__all__ = ["STEP", "TopKParameters"]


class TopKParameters(Parameters):
    """Equal scores stand in the order of their labels. Without `labels` those of the step before are taken."""

    k: int = parameter(at_least=1)
    labels: Terms | None = None
    input: str | None = None
    output: str = "top_labels"
    score: str = "top_scores"


def _compile(parameters: TopKParameters, scope: Scope) -> Apply:
    k = parameters.k
    name = scope.scores(parameters.input)
    labels = scope.labels if parameters.labels is None else scope.terms("labels", parameters.labels)
    if parameters.labels is None and scope.labels_step is None and not scope.has_gaps:
        scope.problem("labels", None, "there: no earlier step has labels")
    scope.label_scores("labels", name, labels)
    if labels and k > len(labels):
        scope.problem("k", k, f"at most {len(labels)}, the number of labels")
    output = scope.make("output", parameters.output, Column("BYTES", k))
    score = scope.make("score", parameters.score, Column("FP32", k))
    texts = np.array(labels, dtype=object)

    def apply(frame: Frame) -> None:
        scores = frame.scores(name, classes=len(labels))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        frame.tensors[output] = texts[order]
        frame.tensors[score] = np.take_along_axis(scores, order, axis=1).astype(np.float32)

    return apply


STEP = Step("top-k", Phase.POST, TopKParameters, _compile)
