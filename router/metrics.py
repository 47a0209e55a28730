"""What the router counts, as plain numbers on the data path and as Prometheus text when somebody asks.

Labels are group, pool, class of the status, outcome or cause: never a tenant or a path, and of bots only the few that
are busiest (`telemetry/busiest.py`), so that the number of series depends on pools alone. Counts of a pool live with
the pool (`pools.PoolState`): they leave with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.answers import Hop
from router.attempts import Cause
from router.choice_metrics import ChoiceCounts, choice_families

if TYPE_CHECKING:
    from router.connections import Connections
    from router.pools import PoolState

__all__ = ["BUCKETS_S", "Families", "Outcome", "PoolCounts", "RouterCollector", "RouterCounts", "histogram_rows"]

Families: TypeAlias = Callable[[], Iterator[Metric]]
"""Gives metric families when it is called."""
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms."""
_POOL: Final = ("group", "pool")
_ANSWER_ERRORS: Final = {4: "answer_4xx", 5: "answer_5xx"}


class Outcome(IntEnum):
    """How a request that had a pool ended. The word in metrics is the name in lower case."""

    ANSWERED = 0
    """The pool's answer went to the client, whatever its status."""
    FAILED = 1
    """No try brought an answer; the client got an error of the router."""
    DEADLINE = 2
    CUT = 3
    """The answer broke off after its head had gone to the client."""
    CLIENT_GONE = 4


_OUTCOMES: Final = len(Outcome)
_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


class PoolCounts:
    """Counts of one pool since it is in the table.

    Nearly every request is answered with 200: it is in `plain`, `buckets` and `seconds` and nowhere else.
    """

    __slots__ = (
        "buckets",
        "causes",
        "choice",
        "hedges",
        "hops",
        "others",
        "plain",
        "refused",
        "retries",
        "seconds",
    )

    def __init__(self) -> None:
        self.plain = 0
        """Requests that ended with a 200 of the pool."""
        self.hops: dict[tuple[Hop, str], int] = {}
        """{(where a try ended in an error, how): tries}"""
        self.refused: dict[Cause, int] = {}
        """Tries that failed and that the budget let no other follow."""
        self.hedges: dict[str, int] = {}
        """{what came of it: second tries at this pool beside one that was still waited for}"""
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        """All requests, by how long they took."""
        self.seconds = 0.0
        self.others = [0] * (_OUTCOMES * len(_CLASSES))
        """Those that did not, by class of the status and outcome."""
        self.causes: dict[str, int] = {}
        """{why the router had no whole answer of a pool for the client: requests}"""
        self.retries: dict[Cause, int] = {}
        self.choice = ChoiceCounts()

    def finished(self, status: int, outcome: Outcome, took_s: float, /) -> None:
        """One request that went to this pool last is over; `status` is what the client got, 0: none."""
        self.buckets[bisect_left(BUCKETS_S, took_s)] += 1
        self.seconds += took_s
        if status == HTTPStatus.OK and not outcome:
            self.plain += 1
        else:
            self.others[min(status // 100, 5) * _OUTCOMES + outcome] += 1

    def answered_otherwise(self, status: int, /) -> None:
        """A request that is in `buckets` already was answered by the pool, not with 200."""
        self.others[min(status // 100, 5) * _OUTCOMES] += 1

    def failed(self, cause: str, /) -> None:
        """Why one of them had no answer of a pool."""
        self.causes[cause] = self.causes.get(cause, 0) + 1

    def failed_at(self, hop: Hop, reason: str, /) -> None:
        """One try ended in an error, or in none of an answer, at a hop of the way."""
        key = (hop, reason)
        self.hops[key] = self.hops.get(key, 0) + 1

    def retried(self, cause: Cause, /) -> None:
        """One try at this pool failed and another followed."""
        self.retries[cause] = self.retries.get(cause, 0) + 1

    def requests(self) -> Iterator[tuple[str, str, int]]:
        """Class of the status, outcome and number, of all that there were."""
        counts = list(self.others)
        counts[2 * _OUTCOMES + Outcome.ANSWERED] += self.plain
        for index, count in enumerate(counts):
            if count:
                yield _CLASSES[index // _OUTCOMES], Outcome(index % _OUTCOMES).name.lower(), count

    def errors(self) -> Iterator[tuple[str, int]]:
        """Why requests failed, also those that the pool itself answered with an error, and how many."""
        for digit, cause in _ANSWER_ERRORS.items():
            yield cause, self.others[digit * _OUTCOMES + Outcome.ANSWERED]
        yield from list(self.causes.items())

    def hedged(self, result: Literal["won", "lost", "refused"], /) -> None:
        """This pool was the second that a request was sent to, or would have been if the budget had allowed it."""
        self.hedges[result] = self.hedges.get(result, 0) + 1

    def refused_retry(self, cause: Cause, /) -> None:
        """One try at this pool failed, and there was no budget for another."""
        self.refused[cause] = self.refused.get(cause, 0) + 1


class RouterCounts:
    """Counts of the whole process."""

    __slots__ = ("catalog_lookups", "limited", "misdirected", "refusals", "store_failures", "swaps", "unserved")

    def __init__(self) -> None:
        self.unserved: dict[tuple[int, str], int] = {}
        """{(status, cause): requests answered by the router itself before any pool was chosen}"""
        self.swaps: dict[str, int] = {"table": 0, "catalog": 0}
        self.refusals: dict[str, int] = {"table": 0, "catalog": 0, "access": 0}
        """Documents in the store that were refused, each counted once."""
        self.limited: Mapping[str, int] = {}
        """{cause: requests that a limit of a tenant or bot has refused}; kept by the gate."""
        self.store_failures = 0
        self.misdirected = 0
        self.catalog_lookups: dict[str, int] = {"found": 0, "absent": 0, "failed": 0}
        """Looks into the store for bots that the catalog held here does not have."""

    def refused(self, status: int, cause: str, /) -> None:
        """One request was answered before any pool was chosen."""
        key = (status, cause)
        self.unserved[key] = self.unserved.get(key, 0) + 1


class RouterCollector(Collector):
    """Turns the counts into metric families."""

    def __init__(
        self,
        counts: RouterCounts,
        *,
        pools: Callable[[], Iterable[PoolState]],
        shared: Callable[[], Iterable[Connections]],
        gauges: Callable[[], dict[str, float]],
        more: Sequence[Families] = (),
    ) -> None:
        """`more` gives families of others."""
        self._counts = counts
        self._pools = pools
        self._shared = shared
        self._gauges = gauges
        self._more = more

    def collect(self) -> Iterator[Metric]:
        """All families, of pools first."""
        yield from _pool_families(list(self._pools()))
        yield from _gateway_families(self._shared())
        yield from _router_families(self._counts)
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"botshard_router_{name}", _GAUGE_TEXTS[name], value)
        for families in self._more:
            yield from families()


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
    errors = CounterMetricFamily("botshard_router_errors", "Requests that failed, by why", labels=(*_POOL, "cause"))
    retries = CounterMetricFamily("botshard_router_retries", "Tries that failed", labels=(*_POOL, "cause"))
    hops = CounterMetricFamily(
        "botshard_router_hop_errors", "Tries that failed, by the hop that said so", labels=(*_POOL, "hop", "reason")
    )
    refused = CounterMetricFamily(
        "botshard_router_retries_refused", "Tries that failed without another in the budget", labels=(*_POOL, "cause")
    )
    hedges = CounterMetricFamily(
        "botshard_router_hedges", "Second tries beside one that was still waited for", labels=(*_POOL, "result")
    )
    seconds = HistogramMetricFamily(
        "botshard_router_request_seconds", "From the head of a request to the last byte of its answer", labels=_POOL
    )
    outstanding = GaugeMetricFamily("botshard_router_outstanding", "Requests in flight at a pool", labels=_POOL)
    connections = GaugeMetricFamily("botshard_router_connections", "Connections to a pool", labels=(*_POOL, "state"))
    for pool in pools:
        labels = [pool.route.group, pool.route.name]
        for code, outcome, count in pool.counts.requests():
            requests.add_metric([*labels, code, outcome], count)
        for why, count in pool.counts.errors():
            errors.add_metric([*labels, why], count)
        for cause, count in list(pool.counts.retries.items()):
            retries.add_metric([*labels, cause], count)
        for (hop, reason), count in list(pool.counts.hops.items()):
            hops.add_metric([*labels, hop, reason], count)
        for cause, count in list(pool.counts.refused.items()):
            refused.add_metric([*labels, cause], count)
        for result, count in list(pool.counts.hedges.items()):
            hedges.add_metric([*labels, result], count)
        seconds.add_metric(labels, histogram_rows(pool.counts.buckets), pool.counts.seconds)
        outstanding.add_metric(labels, pool.outstanding)
        idle = pool.origin.idle_count
        connections.add_metric([*labels, "idle"], idle)
        connections.add_metric([*labels, "busy"], pool.origin.open_count - idle)
    yield from (requests, errors, retries, refused, hops, hedges, seconds, outstanding, connections)
    yield from choice_families(pools)


def _gateway_families(shared: Iterable[Connections]) -> Iterator[Metric]:
    connections = GaugeMetricFamily(
        "botshard_router_gateway_connections",
        "Connections to an address where several pools are",
        labels=("address", "state"),
    )
    for place in shared:
        idle = len(place.idle)
        connections.add_metric([str(place.place), "idle"], idle)
        connections.add_metric([str(place.place), "busy"], place.open_count - idle)
    yield connections


def histogram_rows(buckets: Sequence[int], /) -> list[tuple[str, float]]:
    """Counts between the bounds as Prometheus has them, each with all below it."""
    total = 0
    rows: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], buckets, strict=True):
        total += count
        rows.append((bound, total))
    return rows


def _router_families(counts: RouterCounts) -> Iterator[Metric]:
    unserved = CounterMetricFamily(
        "botshard_router_unserved", "Requests answered before any pool was tried", labels=("code", "cause")
    )
    for (status, cause), count in list(counts.unserved.items()):
        unserved.add_metric([str(status), cause], count)
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
