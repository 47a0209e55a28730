"""Weights of a declared architecture: a safetensors file in memory, shared and given back."""

from __future__ import annotations

import mmap
from collections.abc import Container
from math import prod
from pathlib import Path
from typing import Final

import torch

from botshard.bots.safetensors_file import float32_layout

__all__ = ["map_weights"]

_ITEM_BYTES: Final = 4


def map_weights(path: Path, /, *, only: Container[str] | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a file, by name.

    Mapped, not read: replicas on one machine share the pages of a bot's weights, and the pages go with the last tensor.
    The format's own library maps too, but loses some bytes with every file that it opens, for good: too much in a
    process that loads bots all day.

    Args:
        path: of the file.
        only: names of tensors that are wanted; None: all.

    Raises: InvalidDocumentError where the file is not what it should be.
    """
    layout = float32_layout(path, only=only)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # PyTorch wants memory that it might write to
    return {name: _tensor(mapped, shape, begin) for name, (shape, begin) in layout.items()}


def _tensor(mapped: mmap.mmap, shape: tuple[int, ...], begin: int) -> torch.Tensor:
    count = prod(shape)
    if not count:
        return torch.empty(shape)
    if begin % _ITEM_BYTES:  # a writer that did not care where numbers begin
        copied = bytearray(mapped[begin : begin + count * _ITEM_BYTES])
        return torch.frombuffer(copied, dtype=torch.float32).reshape(shape)
    return torch.frombuffer(mapped, dtype=torch.float32, count=count, offset=begin).reshape(shape)
