"""How requests are spread over bots: shares that add up to one, the most popular first.

`azure` follows what is published of Azure Functions (Shahrad et al., "Serverless in the Wild", USENIX ATC 2020, section
3.3): 45 % of the applications are invoked once an hour or less, 81 % once a minute or less, and the others have 99.6 %
of all invocations. A log-normal distribution through the first two points has the third one nearly for free; its
quantiles are taken, not drawn from it, so that every fleet of one size has the same shares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log10
from statistics import NormalDist
from typing import Final, TypeAlias

__all__ = ["POPULARITIES", "Shares", "azure", "measured", "uniform", "zipf"]

Shares: TypeAlias = tuple[float, ...]
"""Of all requests, by rank; never growing, and their sum is 1."""

_HOURLY, _HOURLY_OR_LESS = 24.0, 0.45
_MINUTELY, _MINUTELY_OR_LESS = 1440.0, 0.81
"""Invocations a day, and the share of applications with no more."""


def zipf(count: int, exponent: float = 1.0) -> Shares:
    """The n-th bot is asked `1 / n ** exponent` as often as the first one."""
    return _normalised([1.0 / rank**exponent for rank in range(1, count + 1)])


def azure(count: int) -> Shares:
    """As applications of Azure Functions are invoked."""
    normal = NormalDist()
    low, high = normal.inv_cdf(_HOURLY_OR_LESS), normal.inv_cdf(_MINUTELY_OR_LESS)
    slope = log10(_MINUTELY / _HOURLY) / (high - low)
    scores = (normal.inv_cdf((rank + 0.5) / count) for rank in range(count - 1, -1, -1))
    return _normalised([_HOURLY * 10 ** (slope * (score - low)) for score in scores])


def uniform(count: int) -> Shares:
    """All alike."""
    return (1.0 / count,) * count


def measured(counts: Iterable[float], count: int) -> Shares:
    """As somebody counted it: as many of the counts' quantiles as there are bots. Raises: ValueError without counts."""
    ordered = sorted((number for number in counts if number > 0), reverse=True)
    if not ordered:
        raise ValueError("there is no count above 0")
    places = (int((rank + 0.5) / count * len(ordered)) for rank in range(count))
    return _normalised([ordered[place] for place in places])


POPULARITIES: Final[Mapping[str, Callable[[int], Shares]]] = {"azure": azure, "uniform": uniform, "zipf": zipf}
"""Those that need no more than a number of bots, by the name under which they are asked for."""


def _normalised(weights: Sequence[float]) -> Shares:
    total = sum(weights)
    return tuple(weight / total for weight in weights)
