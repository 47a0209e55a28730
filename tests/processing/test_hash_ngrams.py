"""The step `hash-ngrams`: the same features for ever, in any language."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.processing.running import features, pipeline, problems


def _crc32(data: bytes) -> int:
    """CRC-32 bit by bit, as its standard describes it: the definition, not the library."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def _defined(
    text: str, count: int, words: tuple[int, int] | None, chars: tuple[int, int] | None, *, signed: bool = True
) -> list[float]:
    """Counts as the reference describes them, written as plainly as can be."""
    ngrams: list[bytes] = []
    parts = text.split()
    if words:
        for n in range(words[0], words[1] + 1):
            ngrams += [b"w" + " ".join(parts[i : i + n]).encode() for i in range(len(parts) - n + 1)]
    if chars:
        for part in parts:
            padded = f" {part} "
            for n in range(chars[0], chars[1] + 1):
                ngrams += [b"c" + padded[i : i + n].encode() for i in range(len(padded) - n + 1)]
    counts = [0.0] * count
    for ngram in ngrams:
        value = _crc32(ngram)
        counts[(value % 2**31) % count] += -1 if signed and value >= 2**31 else 1
    return counts


@settings(deadline=None, max_examples=60)
@given(
    text=st.text(alphabet=st.sampled_from("ab é日😀 \t"), max_size=20),
    count=st.sampled_from([1, 7, 64, 1000]),
    words=st.none() | st.sampled_from([(1, 1), (1, 3), (2, 2)]),
    chars=st.sampled_from([(1, 1), (2, 4), (3, 8)]),
    signed=st.booleans(),
)
def test_features_are_those_of_the_definition(
    text: str, count: int, words: tuple[int, int] | None, chars: tuple[int, int], *, signed: bool
) -> None:
    """The fast computation agrees with the definition written out, for any text."""
    step: dict[str, Any] = {"step": "hash-ngrams", "features": count, "chars": chars, "norm": "none", "signed": signed}
    if words:
        step["words"] = words
    found = features(step, [text])
    assert found.dtype == np.float32
    assert found.tolist() == [_defined(text, count, words, chars, signed=signed)]


def test_the_hash_never_changes() -> None:
    """Pinned values: a change of any of them would break every published model."""
    step = {"step": "hash-ngrams", "features": 16, "words": [1, 2], "chars": [3, 3], "norm": "none"}
    assert _crc32(b"123456789") == 0xCBF43926  # the check value that the standard gives
    assert features(step, ["my café bill"]).tolist() == [_PINNED]


_PINNED = [0, 0, -2, -2, 0, -1, -2, 0, 1, 0, 0, 1, 0, -1, 0, -1]


def test_a_batch_is_its_rows() -> None:
    """Rows do not depend on each other, an empty one is zeros."""
    step = {"step": "hash-ngrams", "features": 64, "words": [1, 2], "chars": [2, 3]}
    texts = ["a b c", "", "hello world", "a b c"]
    together = features(step, texts)
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, features(step, [text])[0])
    assert not together[1].any()


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        pytest.param("counts", 3.0, id="counts"),
        pytest.param("binary", 1.0, id="binary"),
        pytest.param("log", math.log(4), id="log"),
        pytest.param("frequency", 0.75, id="frequency"),
    ],
)
def test_counts_become_weights(weights: str, wanted: float) -> None:
    """Three of four words are the same: its weight is as declared."""
    step = {"step": "hash-ngrams", "features": 4096, "words": [1, 1], "weights": weights, "norm": "none"}
    assert np.abs(features(step, ["x x x y"])).max() == pytest.approx(wanted)


def test_rows_have_length_one() -> None:
    """The l2 norm, which is the default, gives each row length 1."""
    found = features({"step": "hash-ngrams", "features": 256, "chars": [1, 3]}, ["some words", "a"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_a_bot_knows_what_its_model_gets() -> None:
    """The tensor that the model gets is declared with its width, under the input's name or another."""
    step = {"step": "hash-ngrams", "features": 32, "words": [1, 1]}
    (tensor,) = pipeline([step]).model_inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("text", "FP32", (-1, 32))
    (tensor,) = pipeline([{**step, "into": "x"}]).model_inputs
    assert tensor.name == "x"


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        pytest.param({"features": 8}, "preprocess[0]: must be given words, chars or both", id="no n-grams"),
        pytest.param({"words": [1, 1]}, "preprocess[0].features: must be there", id="no features"),
        pytest.param({"features": 0, "words": [1, 1]}, "features: must be greater than or equal to 1", id="0"),
        pytest.param({"features": 2**21, "words": [1, 1]}, "features: must be less than or equal to", id="many"),
        pytest.param({"features": 8, "words": [2, 1]}, "words: must be [shortest, longest]", id="backwards"),
        pytest.param({"features": 8, "words": [1, 9]}, "words: must be [shortest, longest]", id="too long"),
        pytest.param({"features": 8, "words": [1]}, "words: must be [shortest, longest]", id="one number"),
        pytest.param({"features": 8, "words": [True, 2]}, "words: must be [shortest, longest]", id="boolean"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], wanted: str) -> None:
    """Each mistake names its parameter."""
    (problem,) = problems([{"step": "hash-ngrams", **parameters}])
    assert wanted in problem
