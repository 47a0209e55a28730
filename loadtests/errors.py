"""What a user of the load tests is told, and nothing more."""

from __future__ import annotations

__all__ = ["LoadTestError"]


class LoadTestError(RuntimeError):
    """The load cannot be made; the text says why, and what would help."""
