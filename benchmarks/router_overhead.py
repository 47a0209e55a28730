"""What the router costs a request: `python -m benchmarks.router_overhead [--json FILE] [--rounds N] [--seconds S]`.

The router, and the same proxy as it would be written first (FastAPI with aiohttp, FastAPI with httpx), take turns on
one core; load generator and upstream share another. They route over 20,000 bots in 16 pools, 1 KB each way, in
interleaved rounds; figures are medians. Where there is only one core the ratios of throughput mean little; CPU a
request (user and system time of the proxy's process) holds up on a busy machine too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.http_load import Load, run_load
from benchmarks.report import Row, parser, publish
from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.hashing import family_id, pool_name, rank_pools
from botshard.sharding.ids import BotId, Epoch, Framework, GroupName, ShardIndex, TenantId, VersionNumber
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.catalog import CatalogStore, Edit
from botshard.store.files import FileStore
from botshard.store.table import TableStore

_BOTS = 20_000
_POOLS = 16
_BITS = 6
_BODY_BYTES = 1024
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Proxy:
    """One proxy under test."""

    name: str
    command: list[str]
    environ: dict[str, str]
    port: int
    process: subprocess.Popen[bytes] | None = None
    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    alone_us: list[float] = field(default_factory=list)
    memory_mib: float = 0.0


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("What the router costs a request")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--connections", type=int, default=64)
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, _upstream() as upstream_port:
        url = _publish_fleet(Path(folder), upstream_port)
        proxies = _proxies(url)
        names = [f"customer-{number:05d}.intents" for number in range(0, _BOTS, 97)]
        direct: list[float] = []
        with _running(proxies):
            os.sched_setaffinity(0, {_other_core()})
            for _ in range(wanted.rounds):
                requests = [_request(name, upstream_port) for name in names]
                direct.append(run_load(upstream_port, requests, connections=1, seconds=0.5).percentile_us(0.5))
                for proxy in proxies:
                    _measure(proxy, names, connections=wanted.connections, seconds=wanted.seconds)
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


def _measure(proxy: Proxy, names: list[str], *, connections: int, seconds: float) -> None:
    requests = [_request(name, proxy.port) for name in names]
    run_load(proxy.port, requests, connections=connections, seconds=0.3)  # warm: connections, caches
    before_s = _cpu_s(proxy)
    load = run_load(proxy.port, requests, connections=connections, seconds=seconds)
    _check(proxy, load)
    proxy.cpu_us.append((_cpu_s(proxy) - before_s) / load.answered * 1e6)
    proxy.per_s.append(load.answered / load.took_s)
    proxy.p50_us.append(load.percentile_us(0.5))
    proxy.p99_us.append(load.percentile_us(0.99))
    alone = run_load(proxy.port, requests, connections=1, seconds=seconds / 4)
    _check(proxy, alone)
    proxy.alone_us.append(alone.percentile_us(0.5))
    proxy.memory_mib = _memory_mib(proxy)


def _check(proxy: Proxy, load: Load) -> None:
    if load.failed or not load.answered:
        raise SystemExit(f"{proxy.name}: {load.failed} of {load.answered} requests failed; nothing was measured")


def _request(bot: str, port: int) -> bytes:
    head = (
        f"POST /v2/models/{bot}/infer HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: load\r\naccept: */*\r\n"
        f"content-type: application/json\r\ncontent-length: {_BODY_BYTES}\r\n\r\n"
    )
    return head.encode() + b'{"inputs":[]}'.ljust(_BODY_BYTES)


def _publish_fleet(folder: Path, upstream_port: int) -> str:
    key = FamilyKey(GroupName("realtime"), Framework("torch"))
    family = family_id(key)
    store = FileStore(folder)

    def edit_of(name: BotId) -> Edit:
        version = Version(VersionNumber(1), "0" * 64, 1_000_000, key, 0)
        return lambda _: Bot(name, TenantId("tenant"), (version,))

    names = [BotId(f"customer-{number:05d}.intents") for number in range(_BOTS)]
    CatalogStore(store).change_many({name: edit_of(name) for name in names})
    pools = [pool_name(key.group, family, ordinal) for ordinal in range(_POOLS)]
    shards = tuple(rank_pools(ShardIndex(shard), _BITS, pools)[:2] for shard in range(1 << _BITS))
    urls = dict.fromkeys(pools, f"http://127.0.0.1:{upstream_port}")
    families = {family: FamilyRoutes(family, key, _BITS, urls, shards)}
    TableStore(store).publish(
        RoutingTable(Epoch(1), {key.group: GroupRoute(True, 10.0, 30.0)}, families), previous_etag=None
    )
    return f"file://{folder}"


def _proxies(url: str) -> list[Proxy]:
    ports = [_free_port() for _ in range(3)]
    router = [sys.executable, "-m", "router"]
    environ = {"ROUTER_STORE_URL": url, "ROUTER_PORT": str(ports[0]), "ROUTER_LOG_LEVEL": "warning"}
    servers = [sys.executable, "-m", "benchmarks.http_servers"]
    return [
        Proxy("router", router, environ, ports[0]),
        Proxy("FastAPI+aiohttp", [*servers, "aiohttp", str(ports[1]), url], {}, ports[1]),
        Proxy("FastAPI+httpx", [*servers, "httpx", str(ports[2]), url], {}, ports[2]),
    ]


@contextlib.contextmanager
def _running(proxies: list[Proxy]) -> Iterator[None]:
    try:
        for proxy in proxies:
            proxy.process = _start(proxy.command, proxy.environ, core=min(os.sched_getaffinity(0)))
        for proxy in proxies:
            _wait_for(proxy.port)
        yield
    finally:
        for proxy in proxies:
            if proxy.process is not None:
                proxy.process.send_signal(signal.SIGKILL)
                proxy.process.wait()


@contextlib.contextmanager
def _upstream() -> Iterator[int]:
    port = _free_port()
    process = _start([sys.executable, "-m", "benchmarks.http_servers", "upstream", str(port)], {}, core=_other_core())
    try:
        _wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()


def _start(command: list[str], environ: dict[str, str], *, core: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environ})
    os.sched_setaffinity(process.pid, {core})
    return process


def _other_core() -> int:
    return max(os.sched_getaffinity(0))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 60.0
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port} after a minute")


def _cpu_s(proxy: Proxy) -> float:
    assert proxy.process is not None
    columns = Path(f"/proc/{proxy.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(columns[11]) + int(columns[12])) / _CLOCK_TICKS


def _memory_mib(proxy: Proxy) -> float:
    assert proxy.process is not None
    pages = int(Path(f"/proc/{proxy.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


if __name__ == "__main__":
    sys.exit(main())
