"""How big a bot may be, so that one folder cannot fill a store or a replica."""

from __future__ import annotations

from dataclasses import dataclass

from botshard.sharding.units import MEBIBYTE

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one bot's folder. The defaults hold a hundred small models; a publisher may set others."""

    bot_file_bytes: int = 4 * MEBIBYTE
    """Size of `bot.yaml`, which may hold a vocabulary."""
    sample_bytes: int = 4 * MEBIBYTE
    """Size of the sample request."""
    artifact_bytes: int = 256 * MEBIBYTE
    """Sum of the model's files, also of what is packed inside them."""
    artifact_files: int = 1000
    """Number of the model's files, also of what is packed inside them."""
