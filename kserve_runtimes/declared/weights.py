"""Weights of a declared architecture: a safetensors file in memory, shared and given back."""

from __future__ import annotations

import mmap
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from botshard.bots.safetensors_file import float32_layout
from botshard.oip.tensors import Array

__all__ = ["map_arrays"]

_ITEM: Final = np.dtype("<f4")


def map_arrays(path: Path, /) -> dict[str, Array]:
    """The tensors of a file, by name: read-only arrays of float32.

    Mapped, not read: replicas on one machine share the pages of a bot's weights, and the pages go with the last array.

    Raises: InvalidDocumentError where the file is not what it should be.
    """
    layout = float32_layout(path)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {name: _array(mapped, shape, begin) for name, (shape, begin) in layout.items()}


def _array(mapped: mmap.mmap, shape: tuple[int, ...], begin: int) -> Array:
    count = prod(shape)
    if not count:
        return np.empty(shape, _ITEM)
    array = np.frombuffer(mapped, _ITEM, count, begin).reshape(shape)
    # A writer that did not care where numbers begin: BLAS would copy them at each use.
    return array if array.flags.aligned else array.copy()
