"""Which bots leave memory when others need their room: those whose absence would cost least a byte.

A bot is worth `how often it is asked x what a reload costs / its bytes`. How often is a count that ages with the
replica's requests, kept for every bot that it may be asked for, in memory or not: a pool knows its
bots, so the counts are exact and nothing is sketched or hashed. Whoever walks through all bots once therefore adds one
to each of them and displaces nobody who is asked regularly.

Counts are kept as logarithms against a clock that runs in requests. All of them age at the same pace, so their order
changes only where somebody asks, and a heap that is put right when it is read finds the least worth in O(log n).

Pure: no clock, no randomness, no I/O. The same calls lead to the same victims on any machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf, log, log2
from typing import Final

from botshard.sharding.ids import BotId

__all__ = ["Keep"]

_HALF_LIFE: Final = 32
"""Requests for each bot in memory after which a count is halved. A longer memory tells seldom asked bots apart, a
shorter one follows sooner who is asked now; for 400 bots in memory these are 12,800 requests."""
_LEAST_HELD: Final = 16
_WINDOW_SHARE: Final = 0.01
"""Of the room: what was loaded last is spared while so many bytes come after it, so that a bot's second request finds
it however rarely it was asked before."""
_PRIOR_LOADS: Final = 4
"""What the replica's loads cost on average counts like so many loads of the bot itself: how long a single one takes is
mostly what else the machine was doing."""
_LEAST_COST_S: Final = 1e-4
_MOST_PAST_ENTRIES: Final = 64

_Entry = tuple[float, BotId, int]
"""Worth, bot, ticket."""


@dataclass(slots=True)
class _Held:
    bytes: int
    loaded_until_bytes: int
    """Bytes loaded up to and with it, in all."""
    reload_worth: float
    """log2 of cost / bytes, as of its load: what a heap is ordered by must not fall."""
    ticket: int
    """Of its entry in the heap; others are of the past."""


@dataclass(slots=True)
class _Cost:
    """Of logarithms: one load that took a hundred times as long must not outweigh all others."""

    loads: int = 0
    log_sum: float = 0.0


class Keep:
    """What a replica remembers of its bots to decide which of them stay in memory."""

    def __init__(self, room_bytes: int, /) -> None:
        self._window_bytes = int(room_bytes * _WINDOW_SHARE)
        self._half_lives = 0.0
        """How many of them the requests so far were."""
        self._counts: dict[BotId, float] = {}
        """log2 of the aged count, as if nothing had aged since the first request."""
        self._costs: dict[BotId, _Cost] = {}
        self._all = _Cost()
        self._held: dict[BotId, _Held] = {}
        self._heap: list[_Entry] = []
        """One entry with the right ticket for each held bot, never worth more than the bot: worth only grows."""
        self._tickets = 0
        self._loaded_bytes = 0

    def seed(self, rates: Mapping[BotId, float], /) -> None:
        """Begin with what others know: requests in any unit of time. Nothing where requests were counted already."""
        total = sum(rates.values())
        if self._half_lives or total <= 0:
            return
        # What the counts of a replica with so many bots in memory come to add up to.
        steady = _HALF_LIFE * max(len(rates), _LEAST_HELD) / log(2)
        self._counts = {bot_id: log2(rate / total * steady) for bot_id, rate in rates.items() if rate > 0}

    def asked(self, bot_id: BotId, /) -> None:
        """A request for the bot, in memory or not. Cost: O(1)."""
        self._half_lives += 1 / (_HALF_LIFE * max(len(self._held), _LEAST_HELD))
        now = self._half_lives
        before = self._counts.get(bot_id)
        self._counts[bot_id] = now if before is None else now + log2(1.0 + 2.0 ** (before - now))

    def loaded(self, bot_id: BotId, size_bytes: int, cost_s: float, /) -> None:
        """The bot is in memory now, or another version of it."""
        for cost in (self._costs.setdefault(bot_id, _Cost()), self._all):
            cost.loads += 1
            cost.log_sum += log2(max(cost_s, _LEAST_COST_S))
        self._loaded_bytes += size_bytes
        self._tickets += 1
        self._held[bot_id] = _Held(
            size_bytes, self._loaded_bytes, self._reload_worth(bot_id, size_bytes), self._tickets
        )
        heapq.heappush(self._heap, (-inf, bot_id, self._tickets))
        if len(self._heap) > 2 * len(self._held) + _MOST_PAST_ENTRIES:
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapq.heapify(self._heap)

    def left(self, bot_id: BotId, /) -> None:
        """The bot is in memory no longer; what is known of it stays."""
        self._held.pop(bot_id, None)

    def forget(self, bot_id: BotId, /) -> None:
        """The bot is not this replica's any more."""
        self._held.pop(bot_id, None)
        self._counts.pop(bot_id, None)
        self._costs.pop(bot_id, None)

    def victims(self, needed_bytes: int, /, may_leave: Callable[[BotId], bool]) -> tuple[BotId, ...] | None:
        """Bots to take out of memory for `needed_bytes`, least worth first; None where not enough may leave.

        What was loaded last is among them only if nothing else is enough. Cost: O(log n) a bot looked at.
        """
        chosen: list[_Entry] = []
        spared: list[_Entry] = []
        kept: list[_Entry] = []
        freed_bytes = 0
        while freed_bytes < needed_bytes and (entry := self._pop()) is not None:
            held = self._held[entry[1]]
            if not may_leave(entry[1]):
                kept.append(entry)
            elif self._loaded_bytes - held.loaded_until_bytes + held.bytes <= self._window_bytes:
                spared.append(entry)
            else:
                chosen.append(entry)
                freed_bytes += held.bytes
        while freed_bytes < needed_bytes and spared:
            entry = spared.pop(0)
            chosen.append(entry)
            freed_bytes += self._held[entry[1]].bytes
        self._push(kept)
        self._push(spared)
        self._push(chosen)
        if freed_bytes < needed_bytes:
            return None
        return self._without_needless(chosen, freed_bytes - needed_bytes)

    def _without_needless(self, chosen: Iterable[_Entry], surplus_bytes: int) -> tuple[BotId, ...]:
        """The last one taken may have been large enough for some of those before it to stay, the worthiest first."""
        leaving = []
        for _, bot_id, _ in sorted(chosen, reverse=True):
            size_bytes = self._held[bot_id].bytes
            if size_bytes <= surplus_bytes:
                surplus_bytes -= size_bytes
            else:
                leaving.append(bot_id)
        return tuple(reversed(leaving))

    def _pop(self) -> _Entry | None:
        """The held bot that is worth least, taken from the heap."""
        while self._heap:
            worth, bot_id, ticket = entry = self._heap[0]
            if not self._is_current(entry):
                heapq.heappop(self._heap)
            elif (actual := self._worth(bot_id)) != worth:
                heapq.heapreplace(self._heap, (actual, bot_id, ticket))
            else:
                return heapq.heappop(self._heap)
        return None

    def _is_current(self, entry: _Entry) -> bool:
        held = self._held.get(entry[1])
        return held is not None and held.ticket == entry[2]

    def _push(self, entries: Iterable[_Entry]) -> None:
        for entry in entries:
            heapq.heappush(self._heap, entry)

    def _worth(self, bot_id: BotId) -> float:
        """log2 of count x cost / bytes."""
        return self._counts.get(bot_id, -inf) + self._held[bot_id].reload_worth

    def _reload_worth(self, bot_id: BotId, size_bytes: int) -> float:
        cost, every = self._costs[bot_id], self._all
        mean = every.log_sum / every.loads
        own = (cost.log_sum + _PRIOR_LOADS * mean) / (cost.loads + _PRIOR_LOADS)
        return own - log2(max(size_bytes, 1))
