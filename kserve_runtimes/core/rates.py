"""How often each bot is asked: exponentially weighted, so that a report needs one number a bot and no history."""

from __future__ import annotations

import math

from botshard.sharding.ids import BotId
from botshard.store.reports import RATE_TAU_S

__all__ = ["RequestRates"]

_NOTHING_PER_S = 1e-4
"""Below one request in three hours a bot's rate is dropped: reports and memory stay bounded by what is used."""


class RequestRates:
    """Requests a second of each bot."""

    def __init__(self, *, now_s: float) -> None:
        self._counts: dict[BotId, int] = {}
        self._per_s: dict[BotId, float] = {}
        self._rolled_at_s = now_s

    def note(self, bot_id: BotId, /) -> None:
        """One request for the bot."""
        self._counts[bot_id] = self._counts.get(bot_id, 0) + 1

    def roll(self, now_s: float, /) -> dict[BotId, float]:
        """The rates now, of every bot that has one; `now_s` is a monotonic instant."""
        elapsed_s = now_s - self._rolled_at_s
        if elapsed_s > 0:
            kept = math.exp(-elapsed_s / RATE_TAU_S)
            rates = {bot_id: rate * kept for bot_id, rate in self._per_s.items() if rate * kept > _NOTHING_PER_S}
            for bot_id, count in self._counts.items():
                rates[bot_id] = rates.get(bot_id, 0.0) + (1 - kept) * count / elapsed_s
            self._per_s, self._counts, self._rolled_at_s = rates, {}, now_s
        return dict(self._per_s)
