"""gRPC through the router: `python -m benchmarks.router_grpc [--json FILE] [--rounds N] [--seconds S]`.

Calls of `ModelInfer` with a raw tensor go to a pool that gives each message back as it came: directly, through the
router (which looks 20,000 bots up, and sends the message to the pool's HTTP port), and through Envoy as the same proxy
for gRPC, where it is on the path. Proxies take turns on one core; load and pool share another.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, cast

import uvloop

from benchmarks.grpc_load import run_calls
from benchmarks.grpc_servers import INFER
from benchmarks.http_load import Load
from benchmarks.proxies import NAMES, Proxy, find_program, free_port, load_core, publish_fleet, running
from benchmarks.report import Row, parser, publish
from botshard.oip.grpc_schema import message_class
from botshard.oip.headers import MESSAGE
from botshard.rpc.server import RpcServer

__all__ = ["ENVOY"]

_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: " + MESSAGE.encode() + b"\r\nx-botshard-epoch: 1\r\ncontent-length: %d\r\n\r\n"
)
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
_CHANNELS: Final = 8
_CALLERS: Final = 8
ENVOY: Final = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: HTTP2
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /, grpc: {{}}}}, route: {{cluster: pools}}}}]}}
  clusters:
  - name: pools
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: pools
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""
"""A proxy for gRPC: HTTP/2 without TLS both ways."""


class _Http(asyncio.Protocol):
    """The message of each request, back as it came."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Part of a request; they come one at a time."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if found and len(body) == int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            self._buffer = b""
            self._transport.write(_ANSWER % len(body) + body)


async def _pool(http_port: int, grpc_port: int) -> None:
    """A pool that serves messages on both ports."""
    server = RpcServer(unary={INFER: lambda call: call.answer(call.message)}, streams={}, max_message_bytes=16 << 20)
    server.listen(f"127.0.0.1:{grpc_port}")
    http = await asyncio.get_running_loop().create_server(_Http, "127.0.0.1", http_port)
    await http.serve_forever()


def main() -> int:
    """Measure and print."""
    if sys.argv[1:2] == ["pool"]:
        uvloop.run(_pool(int(sys.argv[2]), int(sys.argv[3])))
    options = parser("gRPC through the router, directly, and through Envoy")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--tensor-bytes", type=int, default=1024)
    wanted = options.parse_args()
    http_port, grpc_port = free_port(), free_port()
    command = [sys.executable, "-m", "benchmarks.router_grpc", "pool", str(http_port), str(grpc_port)]
    pool = subprocess.Popen(command)
    try:
        os.sched_setaffinity(pool.pid, {load_core()})
        with tempfile.TemporaryDirectory() as name:
            proxies = _proxies(Path(name), http_port, grpc_port)
            with running(proxies):
                os.sched_setaffinity(0, {load_core()})
                rows = _measure(proxies, grpc_port, wanted.rounds, wanted.seconds, _messages(wanted.tensor_bytes))
    finally:
        pool.kill()
        pool.wait()
    return publish(rows, wanted.json)


def _proxies(folder: Path, http_port: int, grpc_port: int) -> list[Proxy]:
    """All that forward; `port` is that of gRPC."""
    port = free_port()
    environ = {
        "ROUTER_STORE_URL": publish_fleet(folder / "store", http_port),
        "ROUTER_PORT": str(free_port()),
        "ROUTER_GRPC_PORT": str(port),
        "ROUTER_LOG_LEVEL": "warning",
    }
    found = [Proxy("router", [sys.executable, "-m", "router"], environ, port)]
    envoy = find_program("envoy")
    if envoy is not None:
        port, file = free_port(), folder / "envoy.yaml"
        file.write_text(ENVOY.format(port=port, upstream=grpc_port))
        found.append(Proxy("envoy", [envoy, "-c", str(file), "--concurrency", "1", "-l", "critical"], {}, port))
    return found


def _messages(tensor_bytes: int) -> list[bytes]:
    request_class = message_class("ModelInferRequest")
    messages = []
    for name in NAMES:
        request = request_class(model_name=name, raw_input_contents=[bytes(tensor_bytes)])
        request.inputs.add(name="x", datatype="FP32", shape=[1, tensor_bytes // 4])
        messages.append(request.SerializeToString())
    return messages


def _measure(proxies: list[Proxy], direct: int, rounds: int, seconds: float, messages: list[bytes]) -> list[Row]:
    names = [proxy.name for proxy in proxies]
    per_s: dict[str, list[float]] = {name: [] for name in (*names, "direct")}
    alone_us: dict[str, list[float]] = {name: [] for name in (*names, "direct")}
    cpu_us: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for proxy in proxies:
            _warm(proxy.port, messages)
            before_s = _cpu_s(proxy)
            load = _load(proxy.port, messages, _CHANNELS, _CALLERS, seconds)
            cpu_us[proxy.name].append((_cpu_s(proxy) - before_s) / load.answered * 1e6)
            per_s[proxy.name].append(load.answered / load.took_s)
            alone_us[proxy.name].append(_load(proxy.port, messages, 1, 1, seconds / 4).percentile_us(0.5))
        _warm(direct, messages)
        load = _load(direct, messages, _CHANNELS, _CALLERS, seconds)
        per_s["direct"].append(load.answered / load.took_s)
        alone_us["direct"].append(_load(direct, messages, 1, 1, seconds / 4).percentile_us(0.5))
    return [
        _row("calls a second, 64 in flight", {name: statistics.median(values) for name, values in per_s.items()}),
        _row("CPU a call of the proxy, µs", {name: min(values) for name, values in cpu_us.items()}),
        _row("p50 of one caller, µs", {name: statistics.median(values) for name, values in alone_us.items()}),
    ]


def _warm(port: int, messages: list[bytes]) -> None:
    until_s = time.monotonic() + 20.0
    while run_calls(port, messages, channels=1, callers=1, seconds=0.2).failed and time.monotonic() < until_s:
        time.sleep(0.1)  # it has only just begun


def _load(port: int, messages: list[bytes], channels: int, callers: int, seconds: float) -> Load:
    load = run_calls(port, messages, channels=channels, callers=callers, seconds=seconds)
    if load.failed or not load.answered:
        raise SystemExit(f"port {port}: {load.failed} of {load.answered} calls failed; nothing was measured")
    return load


def _cpu_s(proxy: Proxy) -> float:
    assert proxy.process is not None
    columns = Path(f"/proc/{proxy.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(columns[11]) + int(columns[12])) / _CLOCK_TICKS


def _row(what: str, values: dict[str, float]) -> Row:
    mine = values.pop("router")
    return Row(what, mine, values, mine / values["envoy"] if "envoy" in values else None)


if __name__ == "__main__":
    sys.exit(main())
