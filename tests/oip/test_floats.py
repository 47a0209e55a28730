"""Floats of JSON, which are written to memory by another way than other numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import tensor_from_json

_numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.floats(-1e30, 1e30),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([0, 1, 0.0, -0.0, 1.0, 2, 256.0, 1e-45, 3.4028235e38]),
)


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", "<f4"), ("FP64", "<f8")])
@given(values=st.lists(_numbers, min_size=1, max_size=40))
def test_numbers_are_those_that_numpy_reads(datatype: str, dtype: str, values: list[float]) -> None:
    """To the bit, and in memory that a model may use as it is."""
    tensor = tensor_from_json("x", datatype, (len(values),), values)
    assert isinstance(tensor.data, np.ndarray)
    assert tensor.data.tobytes() == np.array(values, dtype=dtype).tobytes()
    assert tensor.data.flags.writeable


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@given(
    values=st.lists(_numbers, max_size=20),
    place=st.integers(0, 20),
    wrong=st.sampled_from([True, False, None, "1", [1.0], {}]),
)
def test_what_is_no_number_is_named(datatype: str, values: list[object], place: int, wrong: object) -> None:
    """True is not one, and false is not zero, wherever they stand."""
    place = min(place, len(values))
    values = [*values[:place], wrong, *values[place:]]
    with pytest.raises(InvalidInputError, match=rf"must be numbers, found .* at index {place}"):
        tensor_from_json("x", datatype, (len(values),), values)


@pytest.mark.parametrize("count", [1, 70_000], ids=["few", "many"])
def test_a_number_that_float32_cannot_hold_is_refused(count: int) -> None:
    """However many stand beside it."""
    with pytest.raises(InvalidInputError, match="too large for FP32"):
        tensor_from_json("x", "FP32", (count,), [0.5] * (count - 1) + [1e39])
