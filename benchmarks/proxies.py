"""Proxies in front of one upstream, routing over 20,000 bots, each measured in its turn on one core."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.http_load import Load, run_load
from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.hashing import family_id, pool_name, rank_pools
from botshard.sharding.ids import BotId, Epoch, Framework, GroupName, ShardIndex, TenantId, VersionNumber
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.catalog import CatalogStore, Edit
from botshard.store.files import FileStore
from botshard.store.table import TableStore

__all__ = [
    "NAMES",
    "Proxy",
    "free_port",
    "load_core",
    "measure",
    "publish_fleet",
    "request_of",
    "router_proxy",
    "running",
    "upstream",
]

_BOTS = 20_000
_POOLS = 16
_BITS = 6
NAMES = [f"customer-{number:05d}.intents" for number in range(0, _BOTS, 97)]
"""The bots that are asked."""
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


def measure(proxy: Proxy, *, body_bytes: int, connections: int, seconds: float) -> None:
    """One round: under load, then with one connection."""
    requests = [request_of(name, proxy.port, body_bytes) for name in NAMES]
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


def request_of(bot: str, port: int, body_bytes: int) -> bytes:
    """A request as a client sends it."""
    head = (
        f"POST /v2/models/{bot}/infer HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: load\r\naccept: */*\r\n"
        f"content-type: application/json\r\ncontent-length: {body_bytes}\r\n\r\n"
    )
    return head.encode() + b'{"inputs":[]}'.ljust(body_bytes)


def publish_fleet(folder: Path, upstream_port: int) -> str:
    """A catalog and a table whose every pool is the upstream; the store's URL."""
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


def router_proxy(url: str) -> Proxy:
    """The router itself."""
    port = free_port()
    environ = {"ROUTER_STORE_URL": url, "ROUTER_PORT": str(port), "ROUTER_LOG_LEVEL": "warning"}
    return Proxy("router", [sys.executable, "-m", "router"], environ, port)


@contextlib.contextmanager
def running(proxies: list[Proxy]) -> Iterator[None]:
    """All of them on the first core."""
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
def upstream() -> Iterator[int]:
    """A server beside the load on the other core; its port."""
    port = free_port()
    process = _start([sys.executable, "-m", "benchmarks.http_servers", "upstream", str(port)], {}, core=load_core())
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


def load_core() -> int:
    """Where load and upstream run."""
    return max(os.sched_getaffinity(0))


def free_port() -> int:
    """A port that nobody has."""
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
