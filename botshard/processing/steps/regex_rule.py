"""`regex-rule`: a text that a pattern matches has a given label, whatever the model says."""

from __future__ import annotations

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, parameter
from botshard.processing.scope import Scope
from botshard.processing.step import Apply, Phase, Step

__all__ = ["STEP", "RegexRuleParameters"]


class RegexRuleParameters(Parameters):
    """The pattern is looked for anywhere in the text as the client sent it."""

    pattern: str = parameter(shortest=1)
    label: str = parameter(shortest=1)
    certainty: float | None = parameter(default=None)
    """What the score of such a text becomes; None: it stays what it was."""
    input: str | None = None
    output: str = "label"
    score: str = "score"


def _compile(parameters: RegexRuleParameters, scope: Scope) -> Apply:
    name = scope.asked_text(parameters.input)
    pattern = scope.pattern("pattern", parameters.pattern)
    output = scope.made("output", parameters.output, "BYTES")
    certainty = parameters.certainty
    if certainty is not None:
        scope.made("score", parameters.score, "FP32")

    def apply(frame: Frame) -> None:
        labels = frame.texts[output]
        for row, text in enumerate(frame.asked[name]):
            if pattern.search(text) is not None:
                labels[row] = parameters.label
                if certainty is not None:
                    frame.tensors[parameters.score][row] = certainty

    return apply


STEP = Step("regex-rule", Phase.POST, RegexRuleParameters, _compile)
