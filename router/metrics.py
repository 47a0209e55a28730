"""What the router counts, as plain numbers on the data path and as Prometheus text when somebody asks.

Labels are group, pool, class of the status, outcome or cause: never a bot, a tenant or a path, so that the number of
series depends on pools alone. Counts of a pool live with the pool (`pools.PoolState`): they leave with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.attempts import Cause

if TYPE_CHECKING:
    from router.pools import PoolState

__all__ = ["Outcome", "PoolCounts", "RouterCollector", "RouterCounts"]

_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_POOL: Final = ("group", "pool")


class Outcome(StrEnum):
    """How a request that had a pool ended."""

    ANSWERED = "answered"
    """The pool's answer went to the client, whatever its status."""
    FAILED = "failed"
    """No try brought an answer; the client got an error of the router."""
    DEADLINE = "deadline"
    CUT = "cut"
    """The answer broke off after its head had gone to the client."""
    CLIENT_GONE = "client_gone"


class PoolCounts:
    """Counts of one pool since it is in the table."""

    __slots__ = ("buckets", "requests", "retries", "seconds")

    def __init__(self) -> None:
        self.requests: dict[tuple[int, Outcome], int] = {}
        """{(first digit of the status sent to the client, 0: none; outcome): requests}"""
        self.retries: dict[Cause, int] = {}
        self.buckets = [0] * (len(_BUCKETS_S) + 1)
        self.seconds = 0.0

    def finished(self, status: int, outcome: Outcome, took_s: float, /) -> None:
        """One request that went to this pool last is over."""
        key = (status // 100, outcome)
        self.requests[key] = self.requests.get(key, 0) + 1
        self.buckets[bisect_left(_BUCKETS_S, took_s)] += 1
        self.seconds += took_s

    def retried(self, cause: Cause, /) -> None:
        """One try at this pool failed and another followed."""
        self.retries[cause] = self.retries.get(cause, 0) + 1


class RouterCounts:
    """Counts of the whole process."""

    __slots__ = ("catalog_lookups", "limited", "misdirected", "refusals", "store_failures", "swaps", "unserved")

    def __init__(self) -> None:
        self.unserved: dict[int, int] = {}
        """{status: requests answered by the router itself before any pool was chosen}"""
        self.swaps: dict[str, int] = {"table": 0, "catalog": 0}
        self.refusals: dict[str, int] = {"table": 0, "catalog": 0, "access": 0}
        """Documents in the store that were refused, each counted once."""
        self.limited: Mapping[str, int] = {}
        """{cause: requests that a limit of a tenant or bot has refused}; kept by the gate."""
        self.store_failures = 0
        self.misdirected = 0
        self.catalog_lookups: dict[str, int] = {"found": 0, "absent": 0, "failed": 0}
        """Looks into the store for bots that the catalog held here does not have."""


class RouterCollector(Collector):
    """Turns the counts into metric families."""

    def __init__(
        self,
        counts: RouterCounts,
        *,
        pools: Callable[[], Iterable[PoolState]],
        gauges: Callable[[], dict[str, float]],
    ) -> None:
        self._counts = counts
        self._pools = pools
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """All families, of pools first."""
        yield from _pool_families(list(self._pools()))
        yield from _router_families(self._counts)
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"botshard_router_{name}", _GAUGE_TEXTS[name], value)


_GAUGE_TEXTS: Final = {
    "bots": "Bots that are served",
    "table_epoch": "Epoch of the routing table in force, 0: none",
    "table_pools": "Pools in the routing table in force",
    "held_body_bytes": "Bytes of request bodies held",
    "ready": "Whether there is a table and a catalog",
}


def _pool_families(pools: list[PoolState]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "botshard_router_requests", "Requests by the pool that was tried last", labels=(*_POOL, "code", "outcome")
    )
    retries = CounterMetricFamily("botshard_router_retries", "Tries that failed", labels=(*_POOL, "cause"))
    seconds = HistogramMetricFamily(
        "botshard_router_request_seconds", "From the first byte of a request to the last of its answer", labels=_POOL
    )
    outstanding = GaugeMetricFamily("botshard_router_outstanding", "Requests in flight at a pool", labels=_POOL)
    connections = GaugeMetricFamily("botshard_router_connections", "Connections to a pool", labels=(*_POOL, "state"))
    for pool in pools:
        labels = [pool.route.group, pool.route.name]
        for (digit, outcome), count in list(pool.counts.requests.items()):
            requests.add_metric([*labels, f"{digit}xx" if digit else "none", outcome], count)
        for cause, count in list(pool.counts.retries.items()):
            retries.add_metric([*labels, cause], count)
        seconds.add_metric(labels, _cumulated(pool.counts.buckets), pool.counts.seconds)
        outstanding.add_metric(labels, pool.outstanding)
        idle = pool.origin.idle_count
        connections.add_metric([*labels, "idle"], idle)
        connections.add_metric([*labels, "busy"], pool.origin.open_count - idle)
    yield from (requests, retries, seconds, outstanding, connections)


def _cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    total = 0
    rows: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, _BUCKETS_S), "+Inf"], buckets, strict=True):
        total += count
        rows.append((bound, total))
    return rows


def _router_families(counts: RouterCounts) -> Iterator[Metric]:
    unserved = CounterMetricFamily(
        "botshard_router_unserved", "Requests answered before any pool was tried", labels=("code",)
    )
    for status, count in list(counts.unserved.items()):
        unserved.add_metric([str(status)], count)
    yield unserved
    for name, text, values in (
        ("swaps", "New tables and catalog changes taken up", counts.swaps),
        ("refusals", "Documents in the store that were refused", counts.refusals),
    ):
        family = CounterMetricFamily(f"botshard_router_{name}", text, labels=("document",))
        for document, count in values.items():
            family.add_metric([document], count)
        yield family
    limited = CounterMetricFamily(
        "botshard_router_limited", "Requests refused by a limit of a tenant or bot", labels=("cause",)
    )
    for cause, count in list(counts.limited.items()):
        limited.add_metric([cause], count)
    yield limited
    lookups = CounterMetricFamily(
        "botshard_router_catalog_lookups", "Looks into the store for bots that are not known", labels=("result",)
    )
    for result, count in counts.catalog_lookups.items():
        lookups.add_metric([result], count)
    yield lookups
    yield CounterMetricFamily("botshard_router_store_failures", "Polls of the store that failed", counts.store_failures)
    yield CounterMetricFamily("botshard_router_misdirected", "Answers 421 of pools", counts.misdirected)
