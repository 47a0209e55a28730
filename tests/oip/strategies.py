"""Tensors of every datatype, for hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from botshard.oip.tensors import DATATYPES, Tensor

# No deadline: on a busy machine a single example may take any time.
ROUND_TRIPS = settings(deadline=None, max_examples=30)
FUZZ = settings(deadline=None, max_examples=200)

NUMBERS = [name for name in DATATYPES if name not in ("BYTES", "BF16")]


def arrays(datatype: str, *, finite: bool = True) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Arrays of one to three dimensions, at least one row."""
    dtype = DATATYPES[datatype]
    elements: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" and finite else {}
    return npst.arrays(dtype, npst.array_shapes(max_dims=3, max_side=4), elements=npst.from_dtype(dtype, **elements))


def tensors(datatype: str, *, binary: bool) -> st.SearchStrategy[Tensor]:
    """Tensors that the JSON form, or the binary form, can carry."""
    if datatype == "BYTES":
        element: st.SearchStrategy[bytes] = st.binary() if binary else st.text().map(str.encode)
        return st.lists(element, min_size=1, max_size=5).map(lambda values: Tensor.of("x", values))
    if datatype == "BF16":
        return arrays("FP32").map(_bf16)
    return arrays(datatype).map(lambda array: Tensor.of("x", array))


def _bf16(array: np.ndarray[Any, Any]) -> Tensor:
    """The upper halves of the numbers, which BF16 holds exactly."""
    bits = np.ascontiguousarray(array).view("<u4") & np.uint32(0xFFFF0000)
    return Tensor.of("x", bits.view("<f4").reshape(array.shape), datatype="BF16")
