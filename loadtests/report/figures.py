"""Figures of some exchanges: how many, how long, what went wrong, who was treated how. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import nan

from loadtests.asking.exchanges import UNKNOWN, Exchange

__all__ = [
    "PERCENTILES",
    "Cold",
    "Figures",
    "Moment",
    "causes_of",
    "cold_of",
    "figures_of",
    "jain",
    "moments_of",
    "percentile",
    "tenants_served",
]

PERCENTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a slice of all exchanges."""

    requests: int
    failed: int
    seconds: float
    """How long it was asked."""
    latencies_ms: tuple[float, ...]
    """At `PERCENTILES`, over all requests, whether answered rightly or not."""
    longest_ms: float

    @property
    def failed_share(self) -> float:
        """Of the requests; not a number where there was none."""
        return self.failed / self.requests if self.requests else nan

    @property
    def answered_per_s(self) -> float:
        """Right answers a second."""
        return (self.requests - self.failed) / self.seconds if self.seconds else nan

    def latency_ms(self, share: float, /) -> float:
        """At one of `PERCENTILES`."""
        return self.latencies_ms[PERCENTILES.index(share)]


@dataclass(frozen=True, slots=True)
class Cold:
    """Requests that found their bot not in memory, or its pool asleep, among those whose answers tell."""

    known: int
    cold: int
    p50_ms: float
    p99_ms: float

    @property
    def share(self) -> float:
        """Of those that are known."""
        return self.cold / self.known if self.known else nan


@dataclass(frozen=True, slots=True)
class Moment:
    """One second of the run."""

    at_s: int
    due: int
    answered: int
    """Right answers to requests that were due then."""
    failed: int
    p50_ms: float
    p99_ms: float


def percentile(ordered: Sequence[float], share: float, /) -> float:
    """The value that this share of the sorted values does not exceed; not a number where there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else nan


def figures_of(exchanges: Iterable[Exchange], /, *, seconds: float) -> Figures:
    """Of all of them together."""
    chosen = list(exchanges)
    took_ms = sorted(exchange.took_s * 1e3 for exchange in chosen)
    return Figures(
        len(chosen),
        sum(1 for exchange in chosen if exchange.cause),
        seconds,
        tuple(percentile(took_ms, share) for share in PERCENTILES),
        took_ms[-1] if took_ms else nan,
    )


def cold_of(exchanges: Iterable[Exchange], /) -> Cold:
    """How many were cold, and how long those took."""
    known = [exchange for exchange in exchanges if exchange.cold != UNKNOWN]
    took_ms = sorted(exchange.took_s * 1e3 for exchange in known if exchange.cold)
    return Cold(len(known), len(took_ms), percentile(took_ms, 0.5), percentile(took_ms, 0.99))


def causes_of(exchanges: Iterable[Exchange], /) -> list[tuple[str, int]]:
    """What went wrong, and how often; the most frequent first."""
    return Counter(exchange.cause for exchange in exchanges if exchange.cause).most_common()


def moments_of(exchanges: Iterable[Exchange], /) -> list[Moment]:
    """Second by second, those in which nothing was due left out. `exchanges` are in the order of `at_s`."""
    moments = []
    for second, group in groupby(exchanges, key=lambda exchange: int(exchange.at_s)):
        figures = figures_of(group, seconds=1.0)
        answered = figures.requests - figures.failed
        p50_ms, p99_ms = figures.latency_ms(0.5), figures.latency_ms(0.99)
        moments.append(Moment(second, figures.requests, answered, figures.failed, p50_ms, p99_ms))
    return moments


def jain(values: Iterable[float], /) -> float:
    """Jain's fairness index: 1 where all have the same, 1/n where one has everything; not a number without any."""
    chosen = list(values)
    squares = sum(value * value for value in chosen)
    return sum(chosen) ** 2 / (len(chosen) * squares) if squares else nan


def tenants_served(exchanges: Iterable[Exchange], tenants: Sequence[str], /, *, within_s: float) -> dict[str, float]:
    """Of each tenant that asked, the share of its requests that were answered rightly and in time.

    Args:
        exchanges: some.
        tenants: whose each bot is.
        within_s: what in time means.
    """
    asked: dict[str, int] = defaultdict(int)
    served: dict[str, int] = defaultdict(int)
    for exchange in exchanges:
        tenant = tenants[exchange.bot]
        asked[tenant] += 1
        served[tenant] += not exchange.cause and exchange.took_s <= within_s
    return {tenant: served[tenant] / count for tenant, count in sorted(asked.items())}
