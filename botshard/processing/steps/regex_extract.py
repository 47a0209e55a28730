"""`regex-extract`: keeps of a text what a pattern matches first."""

from __future__ import annotations

from typing import Literal

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, parameter
from botshard.processing.scope import Scope
from botshard.processing.step import Apply, Phase, Step

__all__ = ["STEP", "RegexExtractParameters"]


class RegexExtractParameters(Parameters):
    """`group` 0 is the whole match; a group is named by number or by its name."""

    pattern: str = parameter(shortest=1)
    group: int | str = 0
    otherwise: Literal["keep", "empty"] = "keep"
    """What becomes of a text in which nothing, or not the group, matches."""
    input: str | None = None


def _compile(parameters: RegexExtractParameters, scope: Scope) -> Apply:
    name = scope.text(parameters.input)
    pattern = scope.pattern("pattern", parameters.pattern)
    group = scope.group("group", parameters.group, pattern)
    keep = parameters.otherwise == "keep"

    def extract(text: str) -> str:
        match = pattern.search(text)
        found = None if match is None else match[group]
        if found is None:
            return text if keep else ""
        return str(found)

    def apply(frame: Frame) -> None:
        frame.put_texts(name, [extract(text) for text in frame.texts[name]])

    return apply


STEP = Step("regex-extract", Phase.PRE, RegexExtractParameters, _compile)
