"""The step `top-k`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.processing.running import answer, post_problems

_LABELS = ["a", "b", "c"]
_STEP = {"step": "top-k", "k": 2, "labels": _LABELS}
_OUTPUTS = [("top_labels", "BYTES", (-1, 2)), ("top_scores", "FP32", (-1, 2))]


def test_the_highest_scores_stand_first() -> None:
    """The k best labels with their scores, equal ones in the order of the labels."""
    scores = np.array([[0.25, 0.5, 0.125], [1, 1, 1]], dtype=np.float32)
    assert answer([_STEP], _OUTPUTS, scores) == {
        "top_labels": [["b", "a"], ["a", "b"]],
        "top_scores": [[0.5, 0.25], [1, 1]],
    }


def test_labels_of_the_step_before_are_taken() -> None:
    """After a label step the labels need not be said again."""
    steps: list[dict[str, object]] = [{"step": "label", "labels": _LABELS}, {"step": "top-k", "k": 2}]
    scores = np.array([[3, 2, 1]], dtype=np.int64)
    assert answer(steps, _OUTPUTS, scores) == {"top_labels": [["a", "b"]], "top_scores": [[3, 2]]}


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        pytest.param({**_STEP, "k": 4}, "postprocess[0].k: must be at most 3, the number of labels", id="k above"),
        pytest.param({**_STEP, "k": 0}, "postprocess[0].k: must be greater than or equal to 1", id="k 0"),
        pytest.param({"step": "top-k", "k": 1}, "postprocess[0].labels: must be there: no earlier step", id="none"),
    ],
)
def test_wrong_parameters_are_refused(step: dict[str, object], wanted: str) -> None:
    """Each mistake names its parameter."""
    (problem,) = post_problems([step])
    assert problem.startswith(wanted)
