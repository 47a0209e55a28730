"""Moments at which requests are due: a Poisson process whose rate changes, by thinning (Lewis and Shedler, 1979)."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from loadtests.traffic.curves import Curve

__all__ = ["moments"]


def moments(curve: Curve, *, base_per_s: float, seconds: float, chance: Random) -> Iterator[float]:
    """Seconds from the beginning, in order; each below `seconds`.

    Args:
        curve: the rate, as multiples of `base_per_s`.
        base_per_s: requests a second.
        seconds: how long.
        chance: where randomness comes from.
    """
    most_per_s = base_per_s * curve.peak
    if most_per_s <= 0:
        return
    at_s = chance.expovariate(most_per_s)
    while at_s < seconds:
        if chance.random() * curve.peak <= curve.at(at_s):
            yield at_s
        at_s += chance.expovariate(most_per_s)
