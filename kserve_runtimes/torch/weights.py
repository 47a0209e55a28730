"""Weights of a declared architecture or a backbone as PyTorch's tensors."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import torch

from kserve_runtimes.declared.weights import map_arrays

__all__ = ["map_weights"]


def map_weights(path: Path, /, *, only: Container[str] | None = None) -> dict[str, torch.Tensor]:
    """As `map_arrays`: tensors over the same mapped memory."""
    arrays = map_arrays(path, only=only, writable=True)  # PyTorch wants memory that it might write to
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
