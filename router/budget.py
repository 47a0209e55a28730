"""How many tries more than requests there may be: a share of the requests of the last seconds. Pure, but for the clock.

Without a bound, a group of pools that is slow or broken gets several times its load from the requests that are tried
again, and stays broken. With it every try above the first comes out of one budget a group: a fifth of the requests of
the last ten seconds, and a few a second besides, so that a quiet router can save requests too.

A budget is one router's and one pool group's: what is wrong with some batch pools must not take their second try from
realtime requests. Hedged tries have an account of their own in it: they must not use up what saves requests.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

__all__ = ["Budget"]

_WINDOW_S: Final = 10
_RETRY_SHARE: Final = 0.2
_RETRIES_PER_S: Final = 10
_HEDGE_SHARE: Final = 0.1
_HEDGES_PER_S: Final = 1
_LOOK_EVERY: Final = 16
"""Requests between two looks at the clock: a request costs one addition. What came meanwhile counts as of the look."""


class Budget:
    """Of one pool group. `asked` once a request; `may_retry` or `may_hedge` before each try above its first."""

    __slots__ = ("_asked", "_clock", "_hedges", "_new", "_retries", "_second")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._second = int(clock())
        self._new = 0
        self._asked = [0] * _WINDOW_S
        """Requests by second, those since the last look not among them."""
        self._retries = [0] * _WINDOW_S
        self._hedges = [0] * _WINDOW_S

    def asked(self) -> None:
        """One more request."""
        self._new += 1
        if self._new >= _LOOK_EVERY:
            self._look()

    def may_retry(self) -> bool:
        """Whether one more try is within the budget; if so, it is spent."""
        return self._spend(self._retries, _RETRY_SHARE, _RETRIES_PER_S)

    def may_hedge(self) -> bool:
        """The same for a try beside one that is still waited for."""
        return self._spend(self._hedges, _HEDGE_SHARE, _HEDGES_PER_S)

    def _spend(self, spent: list[int], share: float, per_s: float) -> bool:
        place = self._look()
        if sum(spent) + 1 > share * sum(self._asked) + per_s * _WINDOW_S:
            return False
        spent[place] += 1
        return True

    def _look(self) -> int:
        """Forget what is out of the window; the place of the present second."""
        second = int(self._clock())
        for past in range(max(self._second + 1, second - _WINDOW_S + 1), second + 1):
            place = past % _WINDOW_S
            self._asked[place] = self._retries[place] = self._hedges[place] = 0
        self._second = max(second, self._second)
        place = self._second % _WINDOW_S
        self._asked[place] += self._new
        self._new = 0
        return place
