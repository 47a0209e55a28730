"""Prometheus metrics of a replica. Their number does not depend on the number of bots: no label names a bot."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kserve_runtimes.core.asked import Times
from kserve_runtimes.core.tallies import CounterTally, HistogramTally

__all__ = ["Metrics"]

_STAGES: Final = ("queue", "pre", "predict", "post")
_CLASSES: Final = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
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

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.loads = Counter("botshard_loads", "Loads of bots", ["outcome"], registry=registry)
        self.load_seconds = Histogram(
            "botshard_load_seconds", "From the decision to load to resident", registry=registry, buckets=_LOAD_BUCKETS_S
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
        for reason in ("room", "idle", "unload"):
            self.evictions.labels(reason)

    def count_rest(self, status: int, /) -> None:
        """One answer over HTTP."""
        self.requests.of["rest", _CLASSES[min(max(status // 100, 2), 5)]] += 1

    def count_grpc(self, status_class: int, /) -> None:
        """One answer over gRPC; `status_class` is that of the matching HTTP status: 2, 4 or 5."""
        self.requests.of["grpc", _CLASSES[status_class]] += 1

    def note_stages(self, times: Times, /) -> None:
        """One request has gone through the stages, or as far as it came."""
        queue, pre, predict, post = self._stages
        queue.observe(times.queue_s)
        pre.observe(times.pre_s)
        if times.batch_rows:
            predict.observe(times.predict_s)
            post.observe(times.post_s)
            self._batch_rows.observe(times.batch_rows)
