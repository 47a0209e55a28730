"""Counters and histograms that only the event loop changes: no lock and no lookup, a tenth of what a metric's own cost.

They are collectors of `prometheus_client`, which asks them for their figures when it is asked for its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

__all__ = ["CounterTally", "HistogramTally", "Observed", "SumTally"]


class Observed:
    """One labelled histogram."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Observations up to each bound and over the one before, the last over all."""
        self.total = 0.0

    def observe(self, value: float, /) -> None:
        """One observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class HistogramTally(Collector):
    """A histogram for each of some words."""

    def __init__(
        self,
        name: str,
        documentation: str,
        *,
        label: str = "",
        values: Sequence[str] = ("",),
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        """`label` names what `values` are; empty: there is one histogram without a label."""
        self._name, self._documentation, self._label, self._bounds = name, documentation, label, bounds
        self.of = {value: Observed(bounds) for value in values}
        registry.register(self)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What Prometheus reads."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label] if self._label else [])
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        for value, observed in self.of.items():
            buckets = list(zip(names, accumulate(observed.counts), strict=True))
            family.add_metric([value] if self._label else [], buckets, observed.total)
        yield family


class SumTally(Collector):
    """One counter."""

    def __init__(self, name: str, documentation: str, *, registry: CollectorRegistry) -> None:
        self._name, self._documentation = name, documentation
        self.total = 0.0
        """Whoever counts adds to it."""
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What Prometheus reads."""
        yield CounterMetricFamily(self._name, self._documentation, value=self.total)


class CounterTally(Collector):
    """A counter for each combination of some words."""

    def __init__(
        self,
        name: str,
        documentation: str,
        *,
        labels: Sequence[str],
        values: Sequence[tuple[str, ...]],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self.of = dict.fromkeys(values, 0)
        """Counts; whoever counts adds to them."""
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What Prometheus reads."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in self.of.items():
            family.add_metric(values, count)
        yield family
