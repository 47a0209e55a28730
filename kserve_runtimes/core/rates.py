"""How often each bot is asked: exponentially weighted, so that a report needs one number a bot and no history."""

from __future__ import annotations

import math

from botshard.sharding.ids import BotId
from botshard.store.reports import RATE_TAU_S

__all__ = ["EventRate", "RequestRates"]

_EVENT_TAU_S = 30.0
"""Of ten thousand events at once, five minutes later less than one a minute is left: a burst is over by then."""
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


class EventRate:
    """Events a second of one kind, exponentially weighted."""

    def __init__(self) -> None:
        self._count = 0
        self._per_s = 0.0
        self._rolled_at_s: float | None = None

    def note(self) -> None:
        """One event."""
        self._count += 1

    def roll(self, now_s: float, /) -> float:
        """The rate now; `now_s` is a monotonic instant. What came before the first call is not counted."""
        before_s, self._rolled_at_s = self._rolled_at_s, now_s
        if before_s is not None and now_s > before_s:
            kept = math.exp(-(now_s - before_s) / _EVENT_TAU_S)
            self._per_s = self._per_s * kept + (1 - kept) * self._count / (now_s - before_s)
        self._count = 0
        return self._per_s
