"""Prometheus metrics of a replica. Their number does not depend on the number of bots: no label names a bot."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["Metrics"]

_PREDICT_BUCKETS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_LOAD_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """One replica's metrics; the labels' values are fixed words."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.loads = Counter("botshard_loads", "Loads of bots", ["outcome"], registry=registry)
        self.load_seconds = Histogram(
            "botshard_load_seconds", "From the decision to load to resident", registry=registry, buckets=_LOAD_BUCKETS_S
        )
        self.residents = Gauge("botshard_residents", "Bots in memory", registry=registry)
        self.resident_bytes = Gauge("botshard_resident_bytes", "Measured bytes of them", registry=registry)
        self.owned = Gauge("botshard_owned_bots", "Bots that the routing table gives this pool", registry=registry)
        self.epoch = Gauge("botshard_table_epoch", "Epoch of the routing table in force", registry=registry)
        self.requests = Counter("botshard_requests", "Answers", ["protocol", "status"], registry=registry)
        self.in_flight = Gauge("botshard_in_flight", "Inference requests being answered", registry=registry)
        self.predict_seconds = Histogram(
            "botshard_predict_seconds",
            "Decoding, processing and model of one request, on the model's thread",
            registry=registry,
            buckets=_PREDICT_BUCKETS_S,
        )
        self.refused = Counter(
            "botshard_refused_documents",
            "Refused tables and catalog objects",
            ["document"],
            registry=registry,
        )
        self.evictions = Counter("botshard_evictions", "Bots taken out of memory", ["reason"], registry=registry)
        self.reloads = Counter("botshard_reloads", "Loads of bots that were evicted for room", registry=registry)
        for outcome in ("loaded", "failed"):
            self.loads.labels(outcome)
        for reason in ("room", "idle", "unload"):
            self.evictions.labels(reason)
        # Children are looked up by hash each time otherwise, which costs more than counting.
        self._classes = {
            (protocol, status): self.requests.labels(protocol, f"{status}xx")
            for protocol in ("rest", "grpc")
            for status in (2, 3, 4, 5)
        }

    def count_rest(self, status: int, /) -> None:
        """One answer over HTTP."""
        self._classes["rest", min(max(status // 100, 2), 5)].inc()

    def count_grpc(self, status_class: int, /) -> None:
        """One answer over gRPC; `status_class` is that of the matching HTTP status: 2, 4 or 5."""
        self._classes["grpc", status_class].inc()
