"""Prometheus metrics of a replica. Their number does not depend on the number of bots: a few bots have a label."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kserve_runtimes.core.tallies import CounterTally, HistogramTally, SumTally
from kserve_runtimes.core.times import Times
from kserve_runtimes.core.top_bots import TopBots

__all__ = ["Metrics"]

_STAGES: Final = ("load", "queue", "pre", "predict", "post")
_CLASSES: Final = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
_REST: Final = {status: ("rest", _CLASSES[max(status // 100, 2)]) for status in range(100, 600)}
_BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)
_STAGE_BOUNDS_S: Final = (
    0.00001,
    0.000025,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
    5.0,
)
_LOAD_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """One replica's metrics; the labels' values are fixed words."""

    def __init__(self, registry: CollectorRegistry, *, top_bots: int = 20) -> None:
        """`top_bots`: how many have a label of their own."""
        self.registry = registry
        self.loads = Counter("botshard_loads", "Loads of bots", ["outcome"], registry=registry)
        self.load_seconds = Histogram(
            "botshard_load_seconds",
            "From the begin of a load to resident, by why it was begun",
            ["reason"],
            registry=registry,
            buckets=_LOAD_BUCKETS_S,
        )
        self.residents = Gauge("botshard_residents", "Bots in memory", registry=registry)
        self.resident_bytes = Gauge("botshard_resident_bytes", "Measured bytes of them", registry=registry)
        self.owned = Gauge("botshard_owned_bots", "Bots that the routing table gives this pool", registry=registry)
        self.epoch = Gauge("botshard_table_epoch", "Epoch of the routing table in force", registry=registry)
        self.requests = CounterTally(
            "botshard_requests",
            "Answers",
            labels=["protocol", "status"],
            values=[(protocol, f"{status}xx") for protocol in ("rest", "grpc") for status in (2, 3, 4, 5)],
            registry=registry,
        )
        self.in_flight = Gauge("botshard_in_flight", "Inference requests being answered", registry=registry)
        self.stage_seconds = HistogramTally(
            "botshard_stage_seconds",
            "Time of a request in each stage; what a batch takes counts by rows",
            label="stage",
            values=_STAGES,
            bounds=_STAGE_BOUNDS_S,
            registry=registry,
        )
        self.batch_rows = HistogramTally(
            "botshard_batch_rows", "Rows that a model was given at once", bounds=_BATCH_BOUNDS, registry=registry
        )
        self._stages = tuple(self.stage_seconds.of[stage] for stage in _STAGES)
        self._batch_rows = self.batch_rows.of[""]
        self.runs = SumTally("botshard_runs", "Requests that were begun, whatever came of them", registry=registry)
        self.rows = SumTally("botshard_rows", "Rows that models were given", registry=registry)
        self.cpu_seconds = SumTally("botshard_cpu_seconds", "CPU time of requests", registry=registry)
        self.top_bots = TopBots(top_bots, runs=self.runs, cpu_seconds=self.cpu_seconds, registry=registry)
        self.refused = Counter(
            "botshard_refused_documents",
            "Refused tables and catalog objects",
            ["document"],
            registry=registry,
        )
        self.evictions = Counter("botshard_evictions", "Bots taken out of memory", ["reason"], registry=registry)
        self.reloads = Counter("botshard_reloads", "Loads of bots that were evicted for room", registry=registry)
        self.sdk = Gauge("botshard_sdk", "State of the import of KServe's SDK", ["state"], registry=registry)
        self.artifacts = Counter("botshard_artifacts", "Artifacts that were loaded from", ["origin"], registry=registry)
        for origin in ("disk", "sibling", "store"):
            self.artifacts.labels(origin)
        for outcome in ("loaded", "failed"):
            self.loads.labels(outcome)
        for reason in ("asked", "warm", "reload", "version"):
            self.load_seconds.labels(reason)
        for reason in ("room", "idle", "unload"):
            self.evictions.labels(reason)

    def count_rest(self, status: int, /) -> None:
        """One answer over HTTP."""
        self.requests.of[_REST[status]] += 1

    def count_grpc(self, status_class: int, /) -> None:
        """One answer over gRPC; `status_class` is that of the matching HTTP status: 2, 4 or 5."""
        self.requests.of["grpc", _CLASSES[status_class]] += 1

    def note_run(self, times: Times, rows: int, cpu_s: float, /) -> None:
        """One request has gone through the stages, or as far as it came; `rows` that a model was given."""
        load, queue, pre, predict, post = self._stages
        bounds = _STAGE_BOUNDS_S
        # Five calls of `observe` would cost as much as all of this.
        queue_s, pre_s = times.queue_s, times.pre_s
        queue.counts[bisect_left(bounds, queue_s)] += 1
        queue.total += queue_s
        pre.counts[bisect_left(bounds, pre_s)] += 1
        pre.total += pre_s
        if times.load_s:
            load.observe(times.load_s)
        if times.batch_rows:
            predict_s, post_s = times.predict_s, times.post_s
            predict.counts[bisect_left(bounds, predict_s)] += 1
            predict.total += predict_s
            post.counts[bisect_left(bounds, post_s)] += 1
            post.total += post_s
            self._batch_rows.observe(times.batch_rows)
        self.runs.total += 1
        self.rows.total += rows
        self.cpu_seconds.total += cpu_s
