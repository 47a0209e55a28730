"""How long answers of a bot usually take: quantiles of many bots in little memory. Pure.

A sketch counts answers in buckets each a quarter wider than the one before, so a quantile is off by a quarter at most,
and never too short. It forgets by halves: what it says is about the last few hundred answers.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

__all__ = ["Latencies", "Sketch"]

_BOUNDS_S: Final = tuple(0.0005 * 1.25**step for step in range(48))
"""From half a millisecond to 18 s."""
_HALVED_AT: Final = 512
_RENEWED_EVERY: Final = 16
"""Answers between two computations of the quantile."""


class Sketch:
    """The latencies of one bot, or of all of a family."""

    __slots__ = ("_counts", "_least", "_share", "_total", "quantile_s")

    def __init__(self, share: float, *, least: int) -> None:
        """`least`: answers that it takes before anything is said."""
        self._share = share
        self._least = least
        self._counts = array("H", bytes(2 * (len(_BOUNDS_S) + 1)))
        self._total = 0
        self.quantile_s: float | None = None
        """`share` of the answers took no longer; None: too few have come."""

    def learn(self, took_s: float, /) -> None:
        """One more answer."""
        self._counts[bisect_left(_BOUNDS_S, took_s)] += 1
        self._total += 1
        if self._total >= _HALVED_AT:
            self._counts = array("H", (count >> 1 for count in self._counts))
            self._total = sum(self._counts)
        if self._total >= self._least and (self.quantile_s is None or not self._total % _RENEWED_EVERY):
            self.quantile_s = self._quantile()

    def _quantile(self) -> float | None:
        wanted = self._share * self._total
        for bound_s, count in zip(_BOUNDS_S, self._counts, strict=False):
            wanted -= count
            if wanted <= 0:
                return bound_s
        return None  # longer than anything that is told apart


class Latencies:
    """Sketches of the bots that answered last, and of everybody's families for those that have answered too little."""

    __slots__ = ("_bots", "_bound", "_families", "_share")

    def __init__(self, share: float, *, bound: int = 2048) -> None:
        """`bound`: bots, and families, of which anything is kept."""
        self._share = share
        self._bound = bound
        self._bots: dict[int, Sketch] = {}
        self._families: dict[str, Sketch] = {}

    def __len__(self) -> int:
        return len(self._bots)

    def learn(self, bot: int, family: str, took_s: float, /) -> None:
        """An answer of a bot has come."""
        sketch = self._bots.pop(bot, None)
        if sketch is None:
            if len(self._bots) >= self._bound:
                del self._bots[next(iter(self._bots))]
            sketch = Sketch(self._share, least=32)
        self._bots[bot] = sketch  # at the end: what was not heard of for longest goes first
        sketch.learn(took_s)
        common = self._families.get(family)
        if common is None:
            if len(self._families) >= self._bound:
                del self._families[next(iter(self._families))]
            common = self._families[family] = Sketch(self._share, least=128)
        common.learn(took_s)

    def quantile_s(self, bot: int, family: str, /) -> float | None:
        """The bot's own, else its family's; None: not known yet."""
        for sketch in (self._bots.get(bot), self._families.get(family)):
            if sketch is not None and sketch.quantile_s is not None:
                return sketch.quantile_s
        return None
