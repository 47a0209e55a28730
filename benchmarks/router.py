"""The router against nginx, HAProxy and Envoy: `python -m benchmarks.router [--json FILE] [--rounds N] [--seconds S]`.

Those that are on the path take part, each as one process (one worker) that forwards everything to the same upstream
over kept-alive connections; the router looks 20,000 bots up, watches deadlines, counts and could retry meanwhile. All
take turns on one core; load and upstream share another. Of CPU a request (user and system time of the process) the
smallest of the rounds is given, which other work on the machine disturbs least; of the rest the medians.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.proxies import Proxy, free_port, load_core, measure, publish_fleet, router_proxy, running, upstream
from benchmarks.report import Row, parser, publish

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
    proxy_pass http://pools; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}
"""
_HAPROXY = """
global
  nbthread 1
defaults
  mode http
  timeout connect 3s
  timeout client 75s
  timeout server 75s
  http-reuse always
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
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: pools}}}}]}}
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
    "envoy": (_ENVOY, lambda program, file: [program, "-c", file, "--concurrency", "1", "-l", "critical"]),
    "nginx": (_NGINX, lambda program, file: [program, "-c", file, "-e", "/dev/null"]),
    "haproxy": (_HAPROXY, lambda program, file: [program, "-f", file, "-db", "-q"]),
}
"""By the program's name: its configuration and how it is started with it."""


def main() -> int:
    """Measure and print."""
    options = parser("The router against proxies that are no Python")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--body-bytes", type=int, default=1024)
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as name, upstream() as upstream_port:
        folder = Path(name)
        proxies = [router_proxy(publish_fleet(folder / "store", upstream_port)), *_peers(folder, upstream_port)]
        with running(proxies):
            os.sched_setaffinity(0, {load_core()})
            for _ in range(wanted.rounds):
                for proxy in proxies:
                    measure(proxy, body_bytes=wanted.body_bytes, connections=wanted.connections, seconds=wanted.seconds)
    return publish(_rows(proxies), wanted.json)


def _peers(folder: Path, upstream_port: int) -> list[Proxy]:
    found = []
    for name, (configuration, command) in _PEERS.items():
        program = shutil.which(name)
        if program is None:
            continue
        port = free_port()
        file = folder / f"{name}.{'yaml' if name == 'envoy' else 'conf'}"
        file.write_text(configuration.format(folder=folder, port=port, upstream=upstream_port))
        found.append(Proxy(name, command(program, str(file)), {}, port))
    return found


def _rows(proxies: list[Proxy]) -> list[Row]:
    ours, *others = proxies

    def row(what: str, values: dict[str, float]) -> Row:
        mine = values.pop(ours.name)
        return Row(what, mine, values, mine / values[others[0].name] if others else None)

    return [
        row("requests a second", {proxy.name: statistics.median(proxy.per_s) for proxy in proxies}),
        row("CPU a request, µs", {proxy.name: min(proxy.cpu_us) for proxy in proxies}),
        row("p50, µs", {proxy.name: statistics.median(proxy.p50_us) for proxy in proxies}),
        row("p99, µs", {proxy.name: statistics.median(proxy.p99_us) for proxy in proxies}),
        row("p50 of one connection, µs", {proxy.name: statistics.median(proxy.alone_us) for proxy in proxies}),
        row("memory, MiB", {proxy.name: proxy.memory_mib for proxy in proxies}),
    ]


if __name__ == "__main__":
    sys.exit(main())
