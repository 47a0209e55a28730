"""Proxies in front of one upstream, routing over 20,000 bots, each measured in its turn on one core."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.http_load import Load
from benchmarks.wrk import run_wrk
from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.hashing import family_id, pool_name, rank_pools
from botshard.sharding.ids import BotId, Epoch, Framework, GroupName, ShardIndex, TenantId, VersionNumber
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.catalog import CatalogStore, Edit
from botshard.store.files import FileStore
from botshard.store.table import TableStore

__all__ = [
    "NAMES",
    "PATHS",
    "Proxy",
    "find_program",
    "free_port",
    "load_core",
    "measure",
    "on_core",
    "p50_alone_us",
    "publish_fleet",
    "request_of",
    "router_proxy",
    "running",
    "slow_upstream",
    "upstream",
]

_BOTS = 20_000
_POOLS = 16
_BITS = 6
NAMES = [f"customer-{number:05d}.intents" for number in range(0, _BOTS, 97)]
"""The bots that are asked."""
PATHS = [f"/v2/models/{name}/infer" for name in NAMES]
_UPSTREAM = """
daemon off; master_process off; pid {folder}/upstream.pid; error_log /dev/null crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 16m; client_body_buffer_size 1m;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder}; default_type application/json;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{body}'; }} }}
}}
"""
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


def measure(proxy: Proxy, *, body_bytes: int, connections: int, seconds: float, unlike: bool = False) -> None:
    """One round: under load, then with one connection. `unlike`: see `benchmarks.wrk.run_wrk`."""
    body = b'{"inputs":[]}'.ljust(body_bytes)
    # Warm: connections, caches.
    run_wrk(proxy.port, PATHS, body=body, connections=connections, seconds=1.0, unlike=unlike)
    before_s = _cpu_s(proxy)
    load = run_wrk(proxy.port, PATHS, body=body, connections=connections, seconds=seconds, unlike=unlike)
    _check(proxy, load)
    proxy.cpu_us.append((_cpu_s(proxy) - before_s) / load.answered * 1e6)
    proxy.per_s.append(load.answered / load.took_s)
    proxy.p50_us.append(load.percentile_us(0.5))
    proxy.p99_us.append(load.percentile_us(0.99))
    proxy.alone_us.append(p50_alone_us(proxy.port, body, seconds / 2))
    proxy.memory_mib = _memory_mib(proxy)


def p50_alone_us(port: int, body: bytes, seconds: float) -> float:
    """The median of one connection's requests, in microseconds."""
    alone = run_wrk(port, PATHS, body=body, connections=1, seconds=seconds)
    if alone.failed or not alone.answered:
        raise SystemExit(f"port {port}: {alone.failed} of {alone.answered} requests failed; nothing was measured")
    return alone.percentile_us(0.5)


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
    """A server beside the load on the other core, nginx where it is there; its port. It answers 1 KB to anything."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = _start(_upstream_command(Path(folder), port), {}, core=load_core())
        try:
            _wait_for(port)
            yield port
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def slow_upstream() -> Iterator[int]:
    """A server that does 500 requests a second and no more, beside the load; its port."""
    port = free_port()
    process = _start([sys.executable, "-m", "benchmarks.http_servers", "slow", str(port)], {}, core=load_core())
    try:
        _wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()


def _upstream_command(folder: Path, port: int) -> list[str]:
    program = find_program("nginx")
    if program is None:
        return [sys.executable, "-m", "benchmarks.http_servers", "upstream", str(port)]
    file = folder / "upstream.conf"
    body = '{"model_name":"bot","outputs":[]}'.ljust(1024)
    file.write_text(_UPSTREAM.format(folder=folder, port=port, body=body))
    return [program, "-c", str(file), "-e", "/dev/null"]


def find_program(name: str) -> str | None:
    """A program on the path; Envoy also from its package of Python."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None and (spec := importlib.util.find_spec(name)) is not None and spec.origin is not None:
        packed = Path(spec.origin).parent / "_bin" / name
        found = str(packed) if packed.exists() else None
    return found


def _start(command: list[str], environ: dict[str, str], *, core: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environ})
    os.sched_setaffinity(process.pid, {core})
    return process


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process, and what it starts, on one core for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


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
