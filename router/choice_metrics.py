"""What is counted of the choice of pools: ejections, returns, and starts from zero."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric

from router.health import Why

if TYPE_CHECKING:
    from router.pools import PoolState

__all__ = ["ChoiceCounts", "choice_families"]

_POOL: Final = ("group", "pool")


class ChoiceCounts:
    """Counts of one pool since it is in the table."""

    __slots__ = ("cold_refused", "cold_waits", "ejections", "returns", "wake_seconds", "wakes")

    def __init__(self) -> None:
        self.ejections: dict[Why, int] = {}
        self.returns = 0
        self.cold_waits = 0
        """Requests that waited while another one woke the pool."""
        self.cold_refused = 0
        """Requests that found no place to wait."""
        self.wakes = 0
        self.wake_seconds = 0.0

    def ejected(self, why: Why, /) -> None:
        """The pool was ejected."""
        self.ejections[why] = self.ejections.get(why, 0) + 1

    def woken(self, took_s: float, /) -> None:
        """The pool has started from zero."""
        self.wakes += 1
        self.wake_seconds += took_s


def choice_families(pools: Iterable[PoolState], /) -> Iterator[Metric]:
    """The metric families; a pool of which there is nothing to tell has no series, but for the gauge."""
    ejections = CounterMetricFamily("botshard_router_ejections", "Pools left alone for a while", labels=(*_POOL, "why"))
    returns = CounterMetricFamily("botshard_router_returns", "Ejected pools that are asked again", labels=_POOL)
    ejected = GaugeMetricFamily("botshard_router_ejected", "Workers that leave the pool alone now", labels=_POOL)
    waits = CounterMetricFamily(
        "botshard_router_cold_waits", "Requests that waited while another one woke the pool", labels=_POOL
    )
    refused = CounterMetricFamily(
        "botshard_router_cold_refused", "Requests that found no place to wait for a start from zero", labels=_POOL
    )
    wakes = SummaryMetricFamily("botshard_router_wake_seconds", "From a request to a pool at zero", labels=_POOL)
    for pool in pools:
        labels = [pool.route.group, pool.route.name]
        counts = pool.counts.choice
        ejected.add_metric(labels, pool.is_ejected)
        for why, count in list(counts.ejections.items()):
            ejections.add_metric([*labels, why], count)
        for family, count in ((returns, counts.returns), (waits, counts.cold_waits), (refused, counts.cold_refused)):
            if count:
                family.add_metric(labels, count)
        if counts.wakes:
            wakes.add_metric(labels, counts.wakes, counts.wake_seconds)
    yield from (ejections, returns, ejected, waits, refused, wakes)
