"""The router against nginx, HAProxy and Envoy: `python -m benchmarks.router [--json FILE] [--rounds N] [--seconds S]`.

Those that are on the path take part, each as one process (one worker) that forwards everything to the same upstream
over kept-alive connections, with deadlines and retries on; the router looks 20,000 bots up besides, and counts by pool.
All take turns on one core; load (`wrk`) and upstream (nginx) share another. Of CPU a request (user and system time of
the process) the smallest of the rounds is given, which other work on the machine disturbs least; of the rest the
medians. Where wrk or nginx is not there, load and upstream are Python's, and so is throughput.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.http_load import run_load
from benchmarks.open_load import run_open_load
from benchmarks.proxies import (
    NAMES,
    Proxy,
    find_program,
    free_port,
    load_core,
    measure,
    on_core,
    p50_alone_us,
    publish_fleet,
    request_of,
    router_proxy,
    running,
    upstream,
)
from benchmarks.report import Row, parser, publish
from benchmarks.wrk import is_here

_MEMORY_BAR_MIB = 80
_PACED_PER_S = 500
_PACED_S = 10
_PARTS = ("small", "large", "unlike", "paced")

_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_buffer_size 1m; proxy_buffers 16 64k;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder}; client_max_body_size 16m;
  keepalive_requests 1000000000;
  upstream pools {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://pools; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 10s;
    proxy_next_upstream error timeout http_502 http_503 non_idempotent; proxy_next_upstream_tries 3; }} }}
}}
"""
_HAPROXY = """
global
  nbthread 1
defaults
  mode http
  timeout connect 3s
  timeout client 75s
  timeout server 10s
  http-reuse always
  retries 3
  option redispatch
  option http-buffer-request
  retry-on conn-failure empty-response 502 503
listen pools
  bind 127.0.0.1:{port}
  server pool 127.0.0.1:{upstream}
"""
_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route:
                  cluster: pools
                  timeout: 10s
                  retry_policy:
                    retry_on: connect-failure,refused-stream,reset-before-request,gateway-error
                    num_retries: 3
  clusters:
  - name: pools
    type: STATIC
    load_assignment:
      cluster_name: pools
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""
_PEERS: dict[str, tuple[str, Callable[[str, str], list[str]]]] = {
    "envoy": (
        _ENVOY,
        lambda program, file: [program, "-c", file, "--concurrency", "1", "-l", "critical", "--use-dynamic-base-id"],
    ),
    "nginx": (_NGINX, lambda program, file: [program, "-c", file, "-e", "/dev/null"]),
    "haproxy": (_HAPROXY, lambda program, file: [program, "-f", file, "-db", "-q"]),
}
"""By the program's name: its configuration and how it is started with it."""


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("The router against proxies that are no Python")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--only", choices=_PARTS, action="append", help="parts to run (all)")
    wanted = options.parse_args()
    parts = wanted.only or _PARTS
    if not is_here():
        print("wrk is not on the path: load is Python's, and throughput with it", file=sys.stderr)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, upstream() as port:
        folder = Path(name)
        url = publish_fleet(folder / "store", port)
        if "small" in parts:
            rows += _small(_proxies(folder, url, port), port, wanted)
        if "large" in parts:
            rows += _large(_proxies(folder, url, port), wanted)
        if "unlike" in parts:
            rows += _unlike(_proxies(folder, url, port), wanted)
        if "paced" in parts:
            rows += _paced(_proxies(folder, url, port), wanted.rounds)
    return publish(rows, wanted.json)


def _proxies(folder: Path, url: str, upstream_port: int) -> list[Proxy]:
    return [router_proxy(url), *_peers(folder, upstream_port)]


def _small(proxies: list[Proxy], upstream_port: int, wanted: argparse.Namespace) -> list[Row]:
    direct_us = []
    with running(proxies), on_core(load_core()):
        for _ in range(wanted.rounds):
            direct_us.append(p50_alone_us(upstream_port, b"{}".ljust(1024), wanted.seconds / 2))
            for proxy in proxies:
                measure(proxy, body_bytes=1024, connections=wanted.connections, seconds=wanted.seconds)
    direct = statistics.median(direct_us)
    return [
        _row("1 KB: requests a second", proxies, lambda it: statistics.median(it.per_s), "≥ 1.7 x Envoy", least=1.7),
        _row("1 KB: CPU a request, µs", proxies, lambda it: min(it.cpu_us), "≤ 0.6 x Envoy", most=0.6),
        _row("1 KB: p50, µs", proxies, lambda it: statistics.median(it.p50_us)),
        _row("1 KB: p99, µs", proxies, lambda it: statistics.median(it.p99_us)),
        _row(
            "added p50 of one connection, µs",
            proxies,
            lambda it: statistics.median(it.alone_us) - direct,
            "≤ 0.8 x Envoy",
            most=0.8,
        ),
        _memory(proxies),
    ]


def _memory(proxies: list[Proxy]) -> Row:
    ours, *others = proxies
    memory = {proxy.name: proxy.memory_mib for proxy in others}
    return Row(
        "memory with 20,000 bots, MiB", ours.memory_mib, memory, None, "≤ 80", ok=ours.memory_mib <= _MEMORY_BAR_MIB
    )


def _large(proxies: list[Proxy], wanted: argparse.Namespace) -> list[Row]:
    with running(proxies), on_core(load_core()):
        for _ in range(wanted.rounds):
            for proxy in proxies:
                measure(proxy, body_bytes=65_536, connections=wanted.connections, seconds=wanted.seconds)
    return [
        _row("64 KB: requests a second", proxies, lambda it: statistics.median(it.per_s), "≥ 1.2 x Envoy", least=1.2),
        _row("64 KB: CPU a request, µs", proxies, lambda it: min(it.cpu_us)),
    ]


def _unlike(proxies: list[Proxy], wanted: argparse.Namespace) -> list[Row]:
    """No two heads are the same: nothing that was read before is of use."""
    with running(proxies), on_core(load_core()):
        for _ in range(wanted.rounds):
            for proxy in proxies:
                measure(proxy, body_bytes=1024, connections=wanted.connections, seconds=wanted.seconds, unlike=True)
    return [
        _row("1 KB, heads unlike: requests a second", proxies, lambda it: statistics.median(it.per_s)),
        _row("1 KB, heads unlike: CPU a request, µs", proxies, lambda it: min(it.cpu_us)),
    ]


def _paced(proxies: list[Proxy], rounds: int) -> list[Row]:
    """500 requests a second for ten seconds, at even moments; latency counts from the moment that was meant."""
    arrivals = [(number / _PACED_PER_S, number % len(NAMES)) for number in range(_PACED_PER_S * _PACED_S)]
    with running(proxies), on_core(load_core()):
        for _ in range(rounds):
            for proxy in proxies:
                requests = [request_of(name, proxy.port, 1024) for name in NAMES]
                run_load(proxy.port, requests, connections=16, seconds=0.5)  # warm: connections, caches
                seen = run_open_load(proxy.port, requests, arrivals, connections=16, check=lambda _, __: "")
                if seen.failed:
                    raise SystemExit(f"{proxy.name}: {seen.problems}")
                took = sorted(done_s - due_s for done_s, due_s in zip(seen.done_s, seen.due_s, strict=True))
                proxy.p50_us.append(took[len(took) // 2] * 1e6)
                proxy.p99_us.append(took[int(len(took) * 0.99)] * 1e6)
    return [
        _row("500/s paced: p50, µs", proxies, lambda it: statistics.median(it.p50_us)),
        _row("500/s paced: p99, µs", proxies, lambda it: statistics.median(it.p99_us), "≤ Envoy's", most=1.0),
    ]


def _peers(folder: Path, upstream_port: int) -> list[Proxy]:
    found = []
    for name, (configuration, command) in _PEERS.items():
        program = find_program(name)
        if program is None:
            continue
        port = free_port()
        file = folder / f"{name}.{'yaml' if name == 'envoy' else 'conf'}"
        file.write_text(configuration.format(folder=folder, port=port, upstream=upstream_port))
        found.append(Proxy(name, command(program, str(file)), {}, port))
    return found


def _row(
    what: str,
    proxies: list[Proxy],
    figure: Callable[[Proxy], float],
    bar: str = "",
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> Row:
    """Ours against Envoy, which is the first of the peers where it is here; no bar without it."""
    values = {proxy.name: figure(proxy) for proxy in proxies}
    mine = values.pop("router")
    ratio = mine / values["envoy"] if "envoy" in values else None
    ok = None if ratio is None or not bar else least <= ratio <= most
    return Row(what, mine, values, ratio, bar, ok)


if __name__ == "__main__":
    sys.exit(main())
