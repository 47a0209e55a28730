"""The validator that the other suites use."""

from __future__ import annotations

import pytest

from tests.oip.schema import assert_valid

_VALID = {"model_name": "b", "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [[0.5]]}]}


def test_a_valid_answer_passes() -> None:
    """An answer of the protocol passes."""
    assert_valid(_VALID, "inference_response")


@pytest.mark.parametrize(
    ("answer", "violation"),
    [
        pytest.param({**_VALID, "id": None}, "id", id="null"),
        pytest.param({"outputs": []}, "model_name", id="missing"),
        pytest.param({"model_name": "b", "outputs": [{"name": "y"}]}, "datatype", id="half an output"),
        pytest.param(
            {"model_name": "b", "outputs": [{**_VALID["outputs"][0], "data": [None]}]},  # type: ignore[dict-item]
            "data",
            id="null in data",
        ),
    ],
)
def test_an_answer_that_breaks_the_description_fails(answer: object, violation: str) -> None:
    """Nulls and missing fields, nested ones too, fail with the field's name."""
    with pytest.raises(AssertionError, match=violation):
        assert_valid(answer, "inference_response")


def test_an_unknown_schema_is_an_error() -> None:
    """A misspelt schema name does not validate everything."""
    with pytest.raises(KeyError):
        assert_valid({}, "inference_respnse")
