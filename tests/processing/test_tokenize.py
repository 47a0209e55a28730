"""The step `tokenize`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.processing.running import features, pipeline, problems

_STEP = {"step": "tokenize", "terms": ["how", "are", "you"], "length": 4}


@pytest.mark.parametrize(
    ("parameters", "text", "wanted"),
    [
        pytest.param({}, "how are they", [2, 3, 1, 0], id="known, unknown, padding"),
        pytest.param({}, "you you you you how", [4, 4, 4, 4], id="cut at the end"),
        pytest.param({}, "", [0, 0, 0, 0], id="empty"),
        pytest.param({"firstId": 0, "unknownId": 9, "padId": 8}, "how is", [0, 9, 8, 8], id="other ids"),
        pytest.param({}, "  how\tare ", [2, 3, 0, 0], id="white space"),
    ],
)
def test_words_become_their_ids(parameters: dict[str, object], text: str, wanted: list[int]) -> None:
    """Ids are the places in the list, filled up to the length."""
    found = features({**_STEP, **parameters}, [text])
    assert found.dtype == np.int64
    assert found.tolist() == [wanted]


def test_the_model_gets_whole_numbers() -> None:
    """The model's tensor is INT64 of the declared length."""
    (tensor,) = pipeline([_STEP]).model_inputs
    assert (tensor.datatype, tensor.shape) == ("INT64", (-1, 4))


def test_terms_may_stand_in_a_file(tmp_path: Path) -> None:
    """The line's number gives the id."""
    (tmp_path / "words.txt").write_text("how\nare\nyou\n")
    assert features({**_STEP, "terms": {"file": "words.txt"}}, ["you"], folder=tmp_path).tolist() == [[4, 0, 0, 0]]


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        pytest.param({"length": 0}, "length: must be greater than or equal to 1", id="no length"),
        pytest.param({"padId": -1}, "padId: must be greater than or equal to 0", id="negative id"),
        pytest.param({"firstId": 1.5}, "firstId: must be a whole number", id="fraction"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], wanted: str) -> None:
    """Each mistake names its parameter."""
    (problem,) = problems([{**_STEP, **parameters}])
    assert wanted in problem
