"""A closed loop of HTTP/1.1 requests over kept-alive connections: epoll and sockets, nothing above them.

Of its own a request takes some 4 µs of Python; `python -m benchmarks.http_load` drives a server that does nothing
but answer, in a process of its own on another core, and tells how many requests a second that makes: well above what
any server under test can do, or the measurements mean nothing.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Load", "run_clients", "run_load", "whole_bytes"]

_RECEIVE_BYTES = 1 << 18
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_OK = b"HTTP/1.1 200"
_PATIENCE_S = 30.0
"""For an answer, once the time of the run is over."""
_BAR_PER_S = 30_000


@dataclass(frozen=True, slots=True)
class Load:
    """What one run saw."""

    answered: int
    failed: int
    took_s: float
    latencies_s: Sequence[float]
    """Sorted."""
    first_failure: str = ""
    """What the first one that failed was answered, for people."""

    def percentile_us(self, share: float, /) -> float:
        """Latency that this share of requests stayed under, in microseconds."""
        if not self.latencies_s:
            return float("nan")
        return self.latencies_s[min(len(self.latencies_s) - 1, int(share * len(self.latencies_s)))] * 1e6

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.answered / self.took_s


class _Client:
    """One connection: asks, waits for the whole answer, asks again."""

    __slots__ = ("answered", "asked_s", "partial", "requests", "socket", "wanted_bytes")

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = requests
        self.answered = 0
        self.asked_s = 0.0
        self.partial = b""
        self.wanted_bytes: int | None = None

    def ask(self) -> None:
        """Send the next request. A socket's buffer holds one whole, so that this does not wait for the server."""
        request = self.requests[self.answered % len(self.requests)]
        self.asked_s = time.perf_counter()
        self.socket.sendall(request)

    def received(self, data: bytes) -> bytes | None:
        """The whole answer, once it is here."""
        if self.partial:
            data = self.partial + data
        if self.wanted_bytes is None:
            self.wanted_bytes = whole_bytes(data)
        if self.wanted_bytes is None or len(data) < self.wanted_bytes:
            self.partial = data
            return None
        self.partial = b""
        self.wanted_bytes = None
        return data


def whole_bytes(answer: bytes) -> int | None:
    """Length of a whole answer, of which this has come so far; None: that cannot be known yet."""
    end = answer.find(_END_OF_HEAD)
    if end < 0:
        return None
    at = answer.find(_LENGTH, 0, end)
    if at < 0:
        at = answer[:end].lower().find(_LENGTH)
    if at < 0:
        raise RuntimeError(f"an answer without a length: {answer[:end]!r}")
    return end + len(_END_OF_HEAD) + int(answer[at + len(_LENGTH) : answer.find(b"\r", at)])


def run_load(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """Keep `connections` busy for some time; each asks all of `requests` in turn, beginning at another one."""
    starts = [number * len(requests) // connections for number in range(connections)]
    return run_clients(port, [[*requests[at:], *requests[:at]] for at in starts], seconds=seconds)


def run_clients(port: int, requests: Sequence[Sequence[bytes]], *, seconds: float) -> Load:
    """Keep a connection busy with each of several series of requests."""
    clients = {}
    poll = select.epoll()
    try:
        for series in requests:
            client = _Client(port, series)
            clients[client.socket.fileno()] = client
            poll.register(client.socket.fileno(), select.EPOLLIN)
        return _run(poll, clients, seconds)
    finally:
        poll.close()
        for client in clients.values():
            client.socket.close()


def _run(poll: select.epoll, clients: dict[int, _Client], seconds: float) -> Load:
    clock, latencies, failed, first_failure = time.perf_counter, list[float](), 0, ""
    started_s = now_s = clock()
    until_s = started_s + seconds
    for client in clients.values():
        client.ask()
    busy = len(clients)
    while busy:
        events = poll.poll(_PATIENCE_S)
        if not events:
            failed += busy  # nothing came for so long: nothing will
            break
        for fd, _ in events:
            client = clients[fd]
            try:
                data = client.socket.recv(_RECEIVE_BYTES)
                answer = client.received(data) if data else b""
                if answer is None:
                    continue
                now_s = clock()
                client.answered += 1
                if answer.startswith(_OK):
                    latencies.append(now_s - client.asked_s)
                else:
                    failed += 1
                    first_failure = first_failure or f"{answer[:500]!r}"
                if answer and now_s < until_s:
                    client.ask()
                    continue
            except OSError as error:
                failed += 1
                first_failure = first_failure or repr(error)
            busy -= 1
            poll.unregister(fd)
    latencies.sort()
    return Load(len(latencies) + failed, failed, now_s - started_s, latencies, first_failure)


def main() -> int:
    """Show what the load generator can do, against `benchmarks.pool_servers answers`."""
    from benchmarks.pool_bots import mlp_requests
    from benchmarks.pool_subjects import Subject, free_port, running

    options = argparse.ArgumentParser(description="What the load generator itself can do")
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--connections", type=int, default=64)
    wanted = options.parse_args()
    port = free_port()
    requests = mlp_requests()
    subject = Subject(
        "answers", [sys.executable, "-m", "benchmarks.pool_servers", "answers", str(port)], port, requests
    )
    with running([subject]):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        before_s = time.process_time()
        load = run_load(port, requests, connections=wanted.connections, seconds=wanted.seconds)
        own_us = (time.process_time() - before_s) / load.answered * 1e6
    print(f"{load.per_s:,.0f} requests a second, {own_us:.1f} µs of CPU a request, {load.failed} failed")
    return 0 if load.per_s > _BAR_PER_S else 1


if __name__ == "__main__":
    sys.exit(main())
