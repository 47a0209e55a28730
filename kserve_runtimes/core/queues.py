"""How many requests may wait or run in a replica: the first defence against one bot, or everybody, asking too much.

A bound of the bot's tenant would have its place beside these; today a tenant's bots are bounded one by one, and the
lines in front of the models' threads (`batches.py`) take turns by what runs them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["BOT_REQUESTS_A_THREAD", "REQUESTS_A_THREAD", "QueueBounds"]

BOT_REQUESTS_A_THREAD: Final = 256
REQUESTS_A_THREAD: Final = 1024


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """How many requests may wait or run; those that wait for a load count too."""

    bot_requests: int = BOT_REQUESTS_A_THREAD
    """Of one bot."""
    requests: int = REQUESTS_A_THREAD
    """Of all bots."""
