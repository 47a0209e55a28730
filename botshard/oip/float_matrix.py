"""Reads a request whose one tensor is a flat matrix of floats, without making a Python number of each.

A row of some hundred numbers is the usual request, and a list of Python's floats is half of what reading it costs.
simdjson finds the numbers and gives them as one buffer; that is all it is trusted with. Whatever is not exactly such a
request is None, and the reader for everything (`rest.py`) says what it is, or what is wrong with it.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np
import simdjson

from botshard.oip.tensors import DATATYPES, Tensor

__all__ = ["FloatMatrixReader"]

_BRACKETS: Final = 3
"""Of `inputs`, `shape` and `data`: none is nested."""
_FIELDS: Final = 4
_MOST_BYTES: Final = 1 << 20
"""The parser keeps memory of twice the largest body; and for larger ones the rest costs more."""
_LARGEST_SQUARE: Final = {"FP32": float(np.finfo(np.float32).max) ** 2 * 0.99, "FP64": float(np.finfo(np.float64).max)}
"""If the sum of all squares is below, no number is too large for the datatype."""
_ELSE: Final = (
    ValueError,
    RuntimeError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    OverflowError,
    RuntimeWarning,
)
"""What simdjson raises, and what asking a number for its fields does; and numpy's of a sum that overflows, where
warnings are errors."""


class FloatMatrixReader(threading.local):
    """One parser a thread, since a parser is used by one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = simdjson.Parser()

    def read(self, body: bytes | memoryview, name: str, datatype: str, /) -> tuple[Tensor, str | None] | None:
        """The tensor and the request's id, if `{"inputs": [{name, datatype, shape, data}]}` is all that there is.

        The shape's sizes are whole numbers over 0 whose product is the number of values; other than that nobody has
        compared it with anything.
        """
        if not isinstance(body, bytes) or len(body) > _MOST_BYTES or body[:1] != b"{":  # a byte order mark, say
            return None
        if len(body.split(b"[", _BRACKETS + 1)) != _BRACKETS + 1:  # several times faster than counting
            return None
        try:
            return self._read(body, name, datatype)
        except _ELSE:
            return None

    def _read(self, body: bytes, name: str, datatype: str) -> tuple[Tensor, str | None] | None:
        document: Any = self._parser.parse(body)
        # Each field that is looked for is there and there are no more, so none is there twice.
        request_id = document["id"] if len(document) == 2 else None
        entries = document["inputs"]
        if len(document) != 1 + (type(request_id) is str) or len(entries) != 1:
            return None
        entry = entries[0]
        if len(entry) != _FIELDS or entry["name"] != name or entry["datatype"] != datatype:
            return None
        rows, columns = entry["shape"].as_list()
        values = np.frombuffer(entry["data"].as_buffer(of_type="d"), np.float64)
        if (
            type(rows) is not int
            or type(columns) is not int
            or rows < 1
            or columns < 1
            or len(values) != rows * columns
        ):
            return None
        if not values.dot(values) < _LARGEST_SQUARE[datatype]:
            return None
        array = values.astype(DATATYPES[datatype]).reshape(rows, columns)
        return Tensor(name, datatype, (rows, columns), array), request_id
