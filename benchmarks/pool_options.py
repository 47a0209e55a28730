"""How long the pool's benchmarks measure, and with whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    rounds: int
    seconds: float
    """Of load in each round."""
    peers_python: Path | None
    """Python of an environment with the peers."""
