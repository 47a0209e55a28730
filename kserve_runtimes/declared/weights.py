"""Weights of a declared architecture: a safetensors file in memory, shared and given back."""

from __future__ import annotations

import mmap
from collections.abc import Container
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from botshard.bots.safetensors_file import float32_layout
from botshard.oip.tensors import Array

__all__ = ["map_arrays"]

_ITEM: Final = np.dtype("<f4")


def map_arrays(path: Path, /, *, only: Container[str] | None = None, writable: bool = False) -> dict[str, Array]:
    """The tensors of a file, by name: arrays of float32.

    Mapped, not read: replicas on one machine share the pages of a bot's weights, and the pages go with the last array.
    The format's own library maps too, but loses some bytes with every file that it opens, for good: too much in a
    process that loads bots all day.

    Args:
        path: of the file.
        only: names of tensors that are wanted; None: all.
        writable: for those who want memory that they might write to; what is written stays in this process.

    Raises: InvalidDocumentError where the file is not what it should be.
    """
    layout = float32_layout(path, only=only)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY if writable else mmap.ACCESS_READ)
    return {name: _array(mapped, shape, begin) for name, (shape, begin) in layout.items()}


def _array(mapped: mmap.mmap, shape: tuple[int, ...], begin: int) -> Array:
    count = prod(shape)
    if not count:
        return np.empty(shape, _ITEM)
    array = np.frombuffer(mapped, _ITEM, count, begin).reshape(shape)
    # A writer that did not care where numbers begin: BLAS would copy them at each use.
    return array if array.flags.aligned else array.copy()
