"""The step `softmax`."""

from __future__ import annotations

import numpy as np
import pytest

from botshard.processing import ModelOutputError
from tests.processing.running import answer, post_problems

_OUTPUT = [("probabilities", "FP32", (-1, 3))]


def test_probabilities_are_those_of_the_definition() -> None:
    """exp(x) over the sum of exp(x), row by row."""
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    found = answer([{"step": "softmax"}], _OUTPUT, logits)["probabilities"]
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_large_scores_do_not_overflow() -> None:
    """Scores far beyond what exp can take still make probabilities."""
    found = answer([{"step": "softmax"}], _OUTPUT, np.array([[1e30, -1e30, 0]], dtype=np.float32))
    assert found["probabilities"] == [[1, 0, 0]]


def test_a_temperature_evens_out() -> None:
    """Dividing by a temperature of 2 is halving the scores."""
    logits = np.array([[1.0, 2.0, 4.0]], dtype=np.float32)
    warm = answer([{"step": "softmax", "temperature": 2}], _OUTPUT, logits)
    np.testing.assert_allclose(
        warm["probabilities"], answer([{"step": "softmax"}], _OUTPUT, logits / 2)["probabilities"]
    )


def test_a_named_output_of_several_is_taken() -> None:
    """Where the model has several outputs, the step names one."""
    given = {"a": np.zeros((1, 3), np.float32), "b": np.array([[0, 0, 999]], np.float32)}
    assert answer([{"step": "softmax", "input": "b"}], _OUTPUT, given)["probabilities"] == [[0, 0, 1]]
    with pytest.raises(ModelOutputError, match=r"the model has the outputs a, b; a step must name one \(input\)"):
        answer([{"step": "softmax"}], _OUTPUT, given)
    with pytest.raises(ModelOutputError, match="the model has no output 'c'; it has a, b"):
        answer([{"step": "softmax", "input": "c"}], _OUTPUT, given)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(np.array([[0, np.nan, 0]], np.float32), id="NaN"),
        pytest.param(np.zeros(3, np.float32), id="one dimension"),
        pytest.param(np.array([["a", "b", "c"]], dtype=object), id="texts"),
    ],
)
def test_what_are_no_scores_is_the_models_fault(given: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    """Outputs that are not finite numbers of two dimensions are refused."""
    with pytest.raises(ModelOutputError, match="the model's output"):
        answer([{"step": "softmax"}], _OUTPUT, given)


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan"), "1"])
def test_a_wrong_temperature_is_refused(temperature: object) -> None:
    """A temperature is a finite number above 0."""
    (problem,) = post_problems([{"step": "softmax", "temperature": temperature}])
    assert problem.startswith("postprocess[0].temperature: must be ")
