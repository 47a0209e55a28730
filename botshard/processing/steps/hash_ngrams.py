"""`hash-ngrams`: counts n-grams of words and of characters in a fixed number of features, without a vocabulary.

The hash is part of what a trained model means, so it is the same for ever and easy to repeat in any language: CRC-32
(the one of zlib, gzip and PNG: reflected polynomial 0xEDB88320) of `w` or `c` and the n-gram in UTF-8. For an
n-gram's hash h, a number of 32 bits, the feature is `(h mod 2^31) mod features` and the sign is -1 where the highest
bit of h is set. `w` goes before n-grams of words (words joined by one space), `c` before n-grams of characters, which
are taken within a word that has one space put before and one behind it. Words are what white space separates.

CRC-32 is in zlib, thus in C, and spreads n-grams over features as evenly as a cryptographic hash does (chi-square of
50,000 n-grams of English over 2,048 features: 1.00 a degree of freedom, as for BLAKE2b). It continues from a given
value, so that the prefixes and the first words of longer n-grams are hashed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, parameter
from botshard.processing.ranges import Range
from botshard.processing.scope import Scope
from botshard.processing.step import Apply, Phase, Step
from botshard.processing.weights import Norm, Weights, normalise, weigh

__all__ = ["MAX_FEATURES", "STEP", "HashNgramsParameters"]

MAX_FEATURES: Final = 1 << 20
"""A dense row of that many float32 takes 4 MiB."""

_WORD_SEED: Final = crc32(b"w")
_CHAR_SEED: Final = crc32(b"c")


class HashNgramsParameters(Parameters):
    """At least one of `words` and `chars`."""

    features: int = parameter(at_least=1, at_most=MAX_FEATURES)
    words: Range | None = None
    chars: Range | None = None
    signed: bool = True
    weights: Weights = "counts"
    norm: Norm = "l2"
    input: str | None = None
    into: str | None = parameter(default=None, shortest=1)

    def check(self) -> None:
        """Raises: ValueError."""
        if self.words is None and self.chars is None:
            raise ValueError("given words, chars or both, as in words: [1, 2]")


def _compile(parameters: HashNgramsParameters, scope: Scope) -> Apply:
    name = scope.text(parameters.input)
    features = parameters.features
    into = scope.tensor(name, parameters.into, "FP32", features)
    hash_text = _hasher(parameters.words, parameters.chars)

    def apply(frame: Frame) -> None:
        hashes: list[int] = []
        sizes: list[int] = []
        for text in frame.texts[name]:
            found = hash_text(text)
            hashes += found
            sizes.append(len(found))
        counts = _count(np.array(hashes, dtype=np.uint32), sizes, features, signed=parameters.signed)
        weigh(counts, parameters.weights)
        normalise(counts, parameters.norm)
        frame.tensors[into] = counts

    return apply


def _count(hashes: NDArray[np.uint32], sizes: list[int], features: int, *, signed: bool) -> NDArray[np.float32]:
    """Counts `(rows, features)` of hashes that lie row after row, `sizes` of them a row."""
    counts = np.zeros((len(sizes), features), dtype=np.float32)
    places = (hashes & np.uint32(0x7FFFFFFF)).astype(np.intp) % features
    if len(sizes) > 1:
        places += np.repeat(np.arange(len(sizes), dtype=np.intp) * features, sizes)
    ones = np.where(hashes >> np.uint32(31), np.float32(-1), np.float32(1)) if signed else np.float32(1)
    np.add.at(counts.reshape(-1), places, ones)
    return counts


def _hasher(words: tuple[int, int] | None, chars: tuple[int, int] | None) -> Callable[[str], list[int]]:
    def hash_text(text: str) -> list[int]:
        parts = text.split()
        found: list[int] = []
        if words is not None:
            found += _word_hashes([part.encode() for part in parts], *words)
        if chars is not None:
            for part in parts:
                found += _char_hashes(f" {part} ", *chars)
        return found

    return hash_text


def _word_hashes(words: list[bytes], shortest: int, longest: int) -> list[int]:
    found: list[int] = []
    hashes = [crc32(word, _WORD_SEED) for word in words]
    spaced = [b" " + word for word in words]
    for length in range(1, longest + 1):
        if length > 1:
            hashes = [crc32(word, value) for word, value in zip(spaced[length - 1 :], hashes, strict=False)]
        if length >= shortest:
            found += hashes
    return found


def _char_hashes(padded: str, shortest: int, longest: int) -> list[int]:
    found: list[int] = []
    if padded.isascii():
        raw = padded.encode()
        for length in range(shortest, longest + 1):
            found += [crc32(raw[i : i + length], _CHAR_SEED) for i in range(len(raw) - length + 1)]
    else:
        for length in range(shortest, longest + 1):
            found += [crc32(padded[i : i + length].encode(), _CHAR_SEED) for i in range(len(padded) - length + 1)]
    return found


STEP = Step("hash-ngrams", Phase.PRE, HashNgramsParameters, _compile)
