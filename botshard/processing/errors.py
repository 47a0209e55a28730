"""What can go wrong while a pipeline runs, besides a wrong request (`botshard.oip.errors.InvalidInputError`)."""

from __future__ import annotations

from botshard.sharding.errors import TerminalError

__all__ = ["ModelOutputError"]


class ModelOutputError(TerminalError):
    """The model's outputs are not what the bot declares, or not numbers: the bot is broken, not the request."""
