"""Whether there may be a GPU, without importing what could use one: some replicas never import it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["wants_gpu"]

_DRIVER: Final = Path("/dev/nvidiactl")
"""There where a driver is loaded, and in a container that was given a GPU."""


def wants_gpu(device: str, /) -> bool:
    """Whether models belong on a GPU by `RUNTIME_DEVICE`; then a framework that knows of GPUs loads all of them."""
    return device == "cuda" or (device == "auto" and _DRIVER.exists())
