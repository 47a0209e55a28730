"""What the application asks about all workers of this router, whichever of them was asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.workers.sums import Family

__all__ = ["Alone", "Crew", "Obeys", "as_text", "families_of"]


class Obeys(Protocol):
    """What a supervisor may tell a worker to do."""

    def stop(self) -> None:
        """Answer what there is, then end; told twice: end now."""

    def retire(self) -> None:
        """The same with patience for idle connections."""

    async def cover(self, number: int, sock: socket.socket, /) -> None:
        """Accept on this socket too."""

    def uncover(self, number: int, /) -> None:
        """Accept there no more."""


class Crew(Protocol):
    """All workers of this router, to one of them."""

    async def open(self, server: Obeys) -> None:
        """Begin to listen to the supervisor; a lost one is the order to stop."""

    def serving(self) -> None:
        """This worker accepts connections."""

    def stopping(self) -> None:
        """It takes no new connections any more."""

    async def close(self) -> None:
        """All is answered."""

    async def metrics(self) -> bytes:
        """What they have counted, as Prometheus text."""
        ...

    async def workers(self) -> list[dict[str, Any]]:
        """Who they are, for people."""
        ...


class Alone:
    """The one process of a router without a supervisor."""

    def __init__(self, registry: CollectorRegistry, about: Callable[[], Mapping[str, Any]]) -> None:
        self._registry = registry
        self._about = about

    async def open(self, server: Obeys) -> None:
        """There is nobody."""

    def serving(self) -> None:
        """There is nobody to tell."""

    def stopping(self) -> None:
        """There is nobody to tell."""

    async def close(self) -> None:
        """There is nobody to tell."""

    async def metrics(self) -> bytes:
        """See `Crew`."""
        return generate_latest(self._registry)

    async def workers(self) -> list[dict[str, Any]]:
        """See `Crew`."""
        return [{"worker": None, "pid": os.getpid(), "draining": False, **self._about()}]


def families_of(registry: CollectorRegistry, /) -> list[Family]:
    """What this process has counted, as it goes to others."""
    return [
        Family(
            name=metric.name,
            text=metric.documentation,
            type=metric.type,
            samples=[(sample.name, sample.labels, sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


class _Told(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family["name"], family["text"], family["type"])
            for name, labels, value in family["samples"]:
                metric.add_sample(name, dict(labels), value)
            yield metric


def as_text(families: Iterable[Family], /) -> bytes:
    """Families as Prometheus text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(families))
    return generate_latest(registry)
