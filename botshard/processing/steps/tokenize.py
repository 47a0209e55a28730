"""`tokenize`: words to their numbers in a list, as many a row as the model takes."""

from __future__ import annotations

from typing import Final

import numpy as np

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, parameter
from botshard.processing.scope import Scope
from botshard.processing.step import Apply, Phase, Step
from botshard.processing.terms import Terms

__all__ = ["MAX_LENGTH", "STEP", "TokenizeParameters"]

MAX_LENGTH: Final = 16_384
"""No text has more words."""

_INT32_MAX: Final = 2**31 - 1


class TokenizeParameters(Parameters):
    """A term's id is `firstId` plus its place in the list, from 0."""

    terms: Terms
    length: int = parameter(at_least=1, at_most=MAX_LENGTH)
    """Ids a row: longer texts are cut at their end, shorter ones filled with `padId`."""
    pad_id: int = parameter(default=0, at_least=0, at_most=_INT32_MAX)
    unknown_id: int = parameter(default=1, at_least=0, at_most=_INT32_MAX)
    first_id: int = parameter(default=2, at_least=0, at_most=_INT32_MAX)
    input: str | None = None
    into: str | None = parameter(default=None, shortest=1)


def _compile(parameters: TokenizeParameters, scope: Scope) -> Apply:
    name = scope.text(parameters.input)
    terms = scope.terms("terms", parameters.terms)
    into = scope.tensor(name, parameters.into, "INT64", parameters.length)
    ids = {term: number for number, term in enumerate(terms, parameters.first_id)}
    length, unknown_id = parameters.length, parameters.unknown_id

    def apply(frame: Frame) -> None:
        tokens = np.full((frame.rows, length), parameters.pad_id, dtype=np.int64)
        for row, text in enumerate(frame.texts[name]):
            words = text.split(maxsplit=length)[:length]
            tokens[row, : len(words)] = [ids.get(word, unknown_id) for word in words]
        frame.tensors[into] = tokens

    return apply


STEP = Step("tokenize", Phase.PRE, TokenizeParameters, _compile)
