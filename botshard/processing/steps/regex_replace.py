"""`regex-replace`: replaces every match of a pattern."""

from __future__ import annotations

from typing import Any

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, parameter
from botshard.processing.scope import Scope
from botshard.processing.step import Apply, Phase, Step

__all__ = ["STEP", "RegexReplaceParameters"]


class RegexReplaceParameters(Parameters):
    r"""`with` may refer to groups: `\1`, `\g<name>`."""

    pattern: str = parameter(shortest=1)
    replacement: str = parameter(alias="with", longest=256)
    input: str | None = None


def _compile(parameters: RegexReplaceParameters, scope: Scope) -> Apply:
    name = scope.text(parameters.input)
    pattern = scope.pattern("pattern", parameters.pattern)
    pieces = scope.replacement("with", parameters.replacement, pattern)

    def replacement(match: Any) -> str:
        return "".join(piece if isinstance(piece, str) else match[piece] or "" for piece in pieces)

    def apply(frame: Frame) -> None:
        frame.put_texts(name, [pattern.sub(replacement, text) for text in frame.texts[name]])

    return apply


STEP = Step("regex-replace", Phase.PRE, RegexReplaceParameters, _compile)
