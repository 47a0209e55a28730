"""How many requests a second there are at each moment, as multiples of a base rate."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, tau
from typing import Protocol

__all__ = ["Constant", "Curve", "Diurnal", "Ramp"]


class Curve(Protocol):
    """A rate over time, as multiples of the base rate."""

    @property
    def peak(self) -> float:
        """What `at` never exceeds."""
        ...

    def at(self, elapsed_s: float, /) -> float:
        """The rate so many seconds after the beginning; never negative."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same."""

    level: float = 1.0

    @property
    def peak(self) -> float:
        """The level."""
        return self.level

    def at(self, elapsed_s: float, /) -> float:  # noqa: ARG002 - as every curve
        """The level."""
        return self.level


@dataclass(frozen=True, slots=True)
class Ramp:
    """A straight line from one level to another one, which then stays."""

    seconds: float
    start: float = 0.0
    end: float = 1.0

    @property
    def peak(self) -> float:
        """The higher end."""
        return max(self.start, self.end)

    def at(self, elapsed_s: float, /) -> float:
        """On the line."""
        return self.start + (self.end - self.start) * min(1.0, max(0.0, elapsed_s / self.seconds))


@dataclass(frozen=True, slots=True)
class Diurnal:
    """Days: a base that is always there, and a wave above it, highest in the middle of a day.

    Half of the load of a day's busiest moment is always there ("Serverless in the Wild", section 3.2), and 1 is the
    mean of a day.
    """

    day_s: float
    """How long a day takes."""
    from_s: float = 0.0
    """Where in the day it begins."""
    base_share: float = 0.5
    """Of the peak: what is there at night too."""

    @property
    def peak(self) -> float:
        """At noon."""
        return 2.0 / (1.0 + self.base_share)

    def at(self, elapsed_s: float, /) -> float:
        """On the wave."""
        wave = (1.0 - cos(tau * (self.from_s + elapsed_s) / self.day_s)) / 2.0
        return self.peak * (self.base_share + (1.0 - self.base_share) * wave)
