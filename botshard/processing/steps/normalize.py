"""`normalize`: makes texts that mean the same look the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Literal

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters
from botshard.processing.scope import Scope
from botshard.processing.step import Apply, Phase, Step

__all__ = ["STEP", "NormalizeParameters"]


class NormalizeParameters(Parameters):
    """What is done, in this order."""

    input: str | None = None
    form: Literal["NFC", "NFKC"] = "NFKC"
    lower: bool = True
    strip_accents: bool = False
    collapse_space: bool = True


def _compile(parameters: NormalizeParameters, scope: Scope) -> Apply:
    name = scope.text(parameters.input)
    normalize = _normalizer(parameters)

    def apply(frame: Frame) -> None:
        frame.put_texts(name, [normalize(text) for text in frame.texts[name]])

    return apply


def _normalizer(parameters: NormalizeParameters) -> Callable[[str], str]:
    form = parameters.form
    lower, strip, collapse = parameters.lower, parameters.strip_accents, parameters.collapse_space

    def normalize(text: str) -> str:
        plain = text.isascii()  # ASCII is in every form and has no accents
        if not plain:
            text = unicodedata.normalize(form, text)
        if lower:
            text = text.lower()
        if strip and not plain:
            parts = unicodedata.normalize("NFD", text)
            text = unicodedata.normalize(form, "".join(c for c in parts if unicodedata.category(c) != "Mn"))
        return " ".join(text.split()) if collapse else text

    return normalize


STEP = Step("normalize", Phase.PRE, NormalizeParameters, _compile)
