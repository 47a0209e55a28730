"""How fast those that wait get their turn, and so whether waiting is of use. Pure."""

from __future__ import annotations

__all__ = ["TurnsGiven"]

_WEIGHT = 0.1
_OF_THE_TIME = 0.8
"""Of the time that a request has, waiting may take so much: the rest is for its answer."""


class TurnsGiven:
    """The pace of a queue, as a moving mean of the seconds from turn to turn while somebody waits."""

    __slots__ = ("_last_s", "pace_s")

    def __init__(self) -> None:
        self.pace_s = 0.0
        """0: nobody has waited yet."""
        self._last_s: float | None = None

    def given(self, now_s: float, /, *, others_wait: bool) -> None:
        """Somebody has got a turn; without others that wait, the next interval says nothing."""
        if self._last_s is not None:
            took_s = now_s - self._last_s
            self.pace_s = took_s if not self.pace_s else self.pace_s + _WEIGHT * (took_s - self.pace_s)
        self._last_s = now_s if others_wait else None

    def late_by_s(self, waiting: int, left_s: float, /) -> float:
        """By how much a request would come too late that has `left_s` and finds `waiting` before it; 0: in time."""
        expected_s = (waiting + 1) * self.pace_s
        return max(0.0, expected_s - left_s * _OF_THE_TIME) if waiting else 0.0
