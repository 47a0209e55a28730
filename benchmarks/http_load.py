"""A closed loop of HTTP/1.1 requests over kept-alive connections, on uvloop: as little of its own as Python can do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import uvloop

__all__ = ["Load", "run_load"]


@dataclass(frozen=True, slots=True)
class Load:
    """What one run saw."""

    answered: int
    failed: int
    took_s: float
    latencies_s: Sequence[float]
    """Sorted."""

    def percentile_us(self, share: float, /) -> float:
        """Latency that this share of requests stayed under, in microseconds."""
        if not self.latencies_s:
            return float("nan")
        return self.latencies_s[min(len(self.latencies_s) - 1, int(share * len(self.latencies_s)))] * 1e6


class _Client(asyncio.Protocol):
    """One connection: asks, waits for the whole answer, asks again."""

    def __init__(self, requests: Sequence[bytes], until_s: float, offset: int) -> None:
        self._requests = requests
        self._until_s = until_s
        self._next = offset
        self._buffer = b""
        self._asked_s = 0.0
        self.latencies_s: list[float] = []
        self.failed = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        if at < 0:
            raise RuntimeError(f"an answer without a length: {head!r}")
        if len(body) < int(head[at + 15 :].split(b"\r\n", 1)[0]):
            return
        self._buffer = b""
        now_s = time.perf_counter()
        self.latencies_s.append(now_s - self._asked_s)
        if not head.startswith(b"HTTP/1.1 200"):
            self.failed += 1
        if now_s >= self._until_s:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.failed += 1
        if not self.done.done():
            self.done.set_result(None)

    def _ask(self) -> None:
        self._next = (self._next + 1) % len(self._requests)
        self._asked_s = time.perf_counter()
        self._transport.write(self._requests[self._next])


async def _run(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    started_s = time.perf_counter()
    clients: list[_Client] = []
    for number in range(connections):
        make = partial(_Client, requests, started_s + seconds, number * len(requests) // connections)
        clients.append((await loop.create_connection(make, "127.0.0.1", port))[1])
    await asyncio.gather(*(client.done for client in clients))
    latencies = sorted(latency for client in clients for latency in client.latencies_s)
    failed = sum(client.failed for client in clients)
    return Load(len(latencies), failed, time.perf_counter() - started_s, latencies)


def run_load(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """Keep `connections` busy with `requests` for some time."""
    load: Load = uvloop.run(_run(port, requests, connections, seconds))
    return load
