"""The step `keep`."""

from __future__ import annotations

import numpy as np
import pytest

from botshard.processing import ModelOutputError
from botshard.sharding.catalog import TensorSpec
from tests.processing.running import Values, answer, problems

_LABEL = {"step": "label", "labels": ["yes", "no"], "input": "logits"}


def test_an_output_of_the_model_is_handed_on() -> None:
    """Beside what other steps make, the client gets the model's own output."""
    given: dict[str, Values] = {
        "logits": np.array([[1, 2]], np.float32),
        "embedding": np.array([[7.0, 8.0, 9.0]], np.float64),
    }
    found = answer(
        [_LABEL, {"step": "keep", "input": "embedding", "output": "vector"}],
        [("label", "BYTES", (-1, 1)), ("vector", "FP32", (-1, 3))],
        given,
    )
    assert found == {"label": [["no"]], "vector": [[7, 8, 9]]}


def test_the_only_output_needs_no_name() -> None:
    """A model with one output has it taken."""
    found = answer([{"step": "keep", "output": "y"}], [("y", "FP32", (-1, 2))], np.ones((1, 2), np.float32))
    assert found == {"y": [[1, 1]]}


def test_an_output_that_is_not_there_is_the_models_fault() -> None:
    """A name that the model does not give is refused with the names it gives."""
    with pytest.raises(ModelOutputError, match="no output 'z'; it has model_output"):
        answer([{"step": "keep", "input": "z", "output": "y"}], [("y", "FP32", (-1, 2))], np.ones((1, 2)))


def test_the_datatype_is_declared() -> None:
    """The declared output and the kept one are of one datatype."""
    keep = {"step": "keep", "output": "y", "datatype": "INT64"}
    found = problems(postprocess=[keep], outputs=[TensorSpec("y", "FP32", (-1, 2))])
    assert found == ["outputs[0].datatype: must be INT64, found 'FP32'"]
