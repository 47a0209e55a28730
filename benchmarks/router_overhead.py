"""What the router costs a request: `python -m benchmarks.router_overhead [--json FILE] [--rounds N] [--seconds S]`.

The router, and the same proxy as it would be written first (FastAPI with aiohttp, FastAPI with httpx), take turns on
one core; load generator and upstream share another. They route over 20,000 bots in 16 pools, 1 KB each way, in
interleaved rounds; figures are medians. Where there is only one core the ratios of throughput mean little; CPU a
request (user and system time of the proxy's process) holds up on a busy machine too.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.proxies import (
    Proxy,
    free_port,
    load_core,
    measure,
    p50_alone_us,
    publish_fleet,
    router_proxy,
    running,
    upstream,
)
from benchmarks.report import Row, parser, publish

_BODY_BYTES = 1024


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("What the router costs a request")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--connections", type=int, default=64)
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, upstream() as upstream_port:
        url = publish_fleet(Path(folder), upstream_port)
        proxies = _proxies(url)
        direct: list[float] = []
        with running(proxies):
            os.sched_setaffinity(0, {load_core()})
            for _ in range(wanted.rounds):
                direct.append(p50_alone_us(upstream_port, b"{}".ljust(_BODY_BYTES), 1.0))
                for proxy in proxies:
                    measure(proxy, body_bytes=_BODY_BYTES, connections=wanted.connections, seconds=wanted.seconds)
    return publish(_rows(proxies, statistics.median(direct)), wanted.json)


def _rows(proxies: list[Proxy], direct_us: float) -> list[Row]:
    ours, *others = proxies

    def row(what: str, attribute: str, bar: str = "", *, best: float | None = None, less_is_better: bool = True) -> Row:
        values = {proxy.name: statistics.median(getattr(proxy, attribute)) for proxy in proxies}
        mine = values.pop(ours.name)
        ratio = mine / values[others[0].name]
        ok = None if best is None else (ratio <= best if less_is_better else ratio >= best)
        return Row(what, mine, values, ratio, bar, ok)

    rows = [
        row("requests a second", "per_s", "≥ 3 x", best=3.0, less_is_better=False),
        row("CPU a request, µs", "cpu_us", "≤ 0.33 x", best=0.33),
        row("p50, µs", "p50_us"),
        row("p99, µs", "p99_us"),
    ]
    alone = {proxy.name: statistics.median(proxy.alone_us) - direct_us for proxy in proxies}
    mine = alone.pop(ours.name)
    rows.append(Row("added p50 of one connection, µs", mine, alone, mine / alone[others[0].name]))
    memory = {proxy.name: proxy.memory_mib for proxy in others}
    rows.append(Row("memory with 20,000 bots, MiB", ours.memory_mib, memory, None, "≤ 100", ok=ours.memory_mib <= 100))
    return rows


def _proxies(url: str) -> list[Proxy]:
    ports = [free_port() for _ in range(2)]
    servers = [sys.executable, "-m", "benchmarks.http_servers"]
    return [
        router_proxy(url),
        Proxy("FastAPI+aiohttp", [*servers, "aiohttp", str(ports[0]), url], {}, ports[0]),
        Proxy("FastAPI+httpx", [*servers, "httpx", str(ports[1]), url], {}, ports[1]),
    ]


if __name__ == "__main__":
    sys.exit(main())
