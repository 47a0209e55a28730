"""Whether two tensors are the same."""

from __future__ import annotations

import numpy as np

from botshard.oip.tensors import DATATYPES, Tensor

__all__ = ["assert_same"]


def assert_same(wanted: Tensor, found: Tensor) -> None:
    """In everything, the type of the numbers too."""
    assert (wanted.name, wanted.datatype, wanted.shape) == (found.name, found.datatype, found.shape)
    if isinstance(wanted.data, list):
        assert wanted.data == found.data
    else:
        np.testing.assert_array_equal(wanted.data, found.data)
        assert isinstance(found.data, np.ndarray)
        assert found.data.dtype == DATATYPES[wanted.datatype]
