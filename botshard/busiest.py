"""Which few bots have a label of their own in the metrics: the busiest, without much coming and going. Pure.

A metric with a label for each bot would grow with the catalog, so a bounded number of bots have one and all others are
`other`. A series that ends and begins again is missing from a scrape in between; so labels change once a minute, and
whoever takes one over has to be clearly busier.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["OTHER", "BusiestLabels", "Changed"]

OTHER: Final = "other"
"""All bots without a label of their own."""
_STAYS_S: Final = 60.0
"""Time between two changes."""
_STAYS: Final = 1.25
"""How many times as busy the next has to be to take a label over: neighbours do not swap it for ever."""


class Changed(NamedTuple):
    """What a change of labels was."""

    gone: list[str]
    come: list[str]


class BusiestLabels:
    """Who has one of `most` labels."""

    __slots__ = ("_changes_at_s", "held", "most")

    def __init__(self, most: int, /) -> None:
        self.most = most
        self.held: set[str] = set()
        self._changes_at_s = 0.0

    def settle(self, busy: Mapping[str, float], now_s: float, /) -> Changed:
        """Let the busiest have labels: free ones at once, others' once a minute.

        Args:
            busy: how busy each bot is, lately; one that is absent loses its label at the next change.
            now_s: an instant of a clock that never goes back.
        """
        gone: list[str] = []
        held = self.held
        if now_s >= self._changes_at_s:
            self._changes_at_s = now_s + _STAYS_S
            weights = {bot: much * (_STAYS if bot in held else 1.0) for bot, much in busy.items() if bot != OTHER}
            top = heapq.nlargest(self.most, weights, key=weights.__getitem__)
            gone = list(held.difference(top))
            held.difference_update(gone)
        free = self.most - len(held)
        come: list[str] = []
        if free > 0:
            unlabelled = {bot: much for bot, much in busy.items() if bot not in held and bot != OTHER}
            come = heapq.nlargest(free, unlabelled, key=unlabelled.__getitem__)
            held.update(come)
        return Changed(gone, come)

    def drop(self, bot: str, /) -> None:
        """Take a bot's label away."""
        self.held.discard(bot)
