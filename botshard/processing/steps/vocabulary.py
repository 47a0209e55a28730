"""`vocabulary`: counts the terms of a list, one feature a term."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, parameter
from botshard.processing.ranges import Range
from botshard.processing.scope import Scope
from botshard.processing.step import Apply, Phase, Step
from botshard.processing.terms import Terms
from botshard.processing.weights import Norm, Weights, normalise, weigh

__all__ = ["STEP", "VocabularyParameters"]


class VocabularyParameters(Parameters):
    """Terms are words, or where `words` says so n-grams of words joined by one space."""

    terms: Terms
    words: Range = (1, 1)
    weights: Weights = "counts"
    idf: tuple[float, ...] | None = None
    """A factor a term, in the order of the terms."""
    norm: Norm = "l2"
    input: str | None = None
    into: str | None = parameter(default=None, shortest=1)


def _compile(parameters: VocabularyParameters, scope: Scope) -> Apply:
    name = scope.text(parameters.input)
    terms = scope.terms("terms", parameters.terms)
    into = scope.tensor(name, parameters.into, "FP32", len(terms) or None)
    index = {term: position for position, term in enumerate(terms)}
    idf = _factors(parameters, len(terms), scope)

    def apply(frame: Frame) -> None:
        features = np.zeros((frame.rows, len(index)), dtype=np.float32)
        for row, text in enumerate(frame.texts[name]):
            for position, count in _counts(text, index, parameters.words).items():
                features[row, position] = count
        weigh(features, parameters.weights)
        if idf is not None:
            features *= idf
        normalise(features, parameters.norm)
        frame.tensors[into] = features

    return apply


def _factors(parameters: VocabularyParameters, terms_count: int, scope: Scope) -> NDArray[np.float32] | None:
    factors = parameters.idf
    if factors is None:
        return None
    if terms_count and len(factors) != terms_count:
        scope.problem("idf", f"{len(factors)} numbers", f"one number for each of the {terms_count} terms")
    return np.array(factors, dtype=np.float32)


def _counts(text: str, index: Mapping[str, int], words: tuple[int, int]) -> Counter[int]:
    return Counter(index[term] for term in _ngrams(text.split(), *words) if term in index)


def _ngrams(parts: list[str], shortest: int, longest: int) -> Iterator[str]:
    for length in range(shortest, longest + 1):
        if length == 1:
            yield from parts
        else:
            yield from (" ".join(parts[i : i + length]) for i in range(len(parts) - length + 1))


STEP = Step("vocabulary", Phase.PRE, VocabularyParameters, _compile)
