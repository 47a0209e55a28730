"""What the router is told by its environment, read once and checked whole before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from botshard.environ import LIFELINE_FD, LOG_FORMATS, LOG_LEVELS, EnvironReader
from botshard.sharding.groups import check_gateway
from router.access import settings as access
from router.access.settings import AccessSettings, TlsSettings
from router.health import HealthRules
from router.limits import Limits
from router.probing import ProbeRules
from router.telemetry.settings import VARIABLES as TELEMETRY
from router.telemetry.settings import TelemetrySettings

__all__ = ["VARIABLES", "Settings"]

_DEFAULT_POLL_FILE_S: Final = 0.5
_DEFAULT_POLL_S3_S: Final = 1.0
_MOST_WORKERS: Final = 256

VARIABLES: Final[Mapping[str, str]] = {
    "ROUTER_STORE_URL": "where catalog and routing table are: file:///folder or s3://bucket/prefix?endpoint=…; needed",
    "ROUTER_HOST": "address to listen on (127.0.0.1)",
    "ROUTER_PORT": "port to listen on (8080); 0: any free one, which the log names",
    "ROUTER_LISTEN_FD": "an inherited listening socket, instead of host and port",
    "ROUTER_WORKERS": "processes that serve, with a supervisor above them; unset: one process alone",
    "ROUTER_ENV_FILE": "file of lines NAME=value with further settings, read at the start and at each reload",
    "ROUTER_GRPC_PORT": "port for gRPC, on the same address (0); 0: no gRPC",
    "ROUTER_POLL_INTERVAL_S": "seconds between polls of the store (0.5 for a folder, 1 for S3)",
    "ROUTER_MAX_BODY": "largest request body (16Mi)",
    "ROUTER_STREAM_OVER": "request bodies up to this are held whole, larger ones are sent on as they come (1Mi)",
    "ROUTER_MAX_HELD_BODIES": "bytes of request bodies held at once, small ones not counted (256Mi)",
    "ROUTER_MAX_CONNECTIONS_PER_POOL": "connections to one pool (256)",
    "ROUTER_GATEWAY": "http://host[:port] to connect to for all pools, whatever the table says; Host names the pool",
    "ROUTER_MAX_CONNECTIONS_PER_GATEWAY": "connections to one address that several pools share (768)",
    "ROUTER_MAX_COLD_WAITING": "requests that wait while another one wakes a pool from zero (256)",
    "ROUTER_EJECT_AFTER": "requests in a row that find no replica of a pool until it is left alone (5); 0: never",
    "ROUTER_SLOW_START_S": "seconds in which the share of a pool that is new or back grows (10); 0: all at once",
    "ROUTER_PROBE_INTERVAL_S": "seconds between probes of realtime pools that nobody asks (10); 0: no probes at all",
    "ROUTER_CONNECT_TIMEOUT_S": "seconds for one attempt at a connection (3)",
    "ROUTER_HEDGE": "true: a realtime request that takes longer than usual is sent to a second pool besides (false)",
    "ROUTER_DRAIN_TIMEOUT_S": "seconds that requests in flight have when the router stops (30)",
    **TELEMETRY,
    "ROUTER_LOG_FORMAT": "text or json (text)",
    "ROUTER_LOG_LEVEL": "debug, info, warning or error (info)",
    **access.VARIABLES,
}
"""Every variable and what it means; `docs/router.md` has the same table."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A router's settings."""

    store_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    listen_fd: int | None = None
    poll_interval_s: float = _DEFAULT_POLL_FILE_S
    limits: Limits = field(default_factory=Limits)
    drain_timeout_s: float = 30.0
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    log_as_json: bool = False
    log_level: str = "INFO"
    lifeline_fd: int | None = None
    """A pipe whose end is the order to end."""
    workers: int | None = None
    """Processes that serve; None: this one, without a supervisor."""
    unknown: tuple[str, ...] = ()
    """Variables that start like ours and are not: misspelt, or put there by Kubernetes for a Service named `router`."""
    gateway: str | None = None
    """Where to connect for all pools; None: as the table says."""
    access: AccessSettings = field(default_factory=AccessSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    hedge: bool = False
    """Whether realtime requests may be sent to two pools at a time."""
    health: HealthRules = field(default_factory=HealthRules)
    probes: ProbeRules = field(default_factory=ProbeRules)
    grpc_port: int = 0
    """0: no gRPC."""

    @classmethod
    def read(cls, environ: Mapping[str, str], /) -> Settings:
        """The settings in `environ`.

        Raises: InvalidDocumentError with everything wrong in them.
        """
        reader = EnvironReader(environ)
        url = reader.required("ROUTER_STORE_URL", "set: " + VARIABLES["ROUTER_STORE_URL"])
        poll_s = _DEFAULT_POLL_S3_S if url.startswith("s3:") else _DEFAULT_POLL_FILE_S
        limits = _read_limits(reader)
        settings = cls(
            store_url=url,
            host=reader.text("ROUTER_HOST", "127.0.0.1"),
            port=reader.integer("ROUTER_PORT", 8080, at_least=0, at_most=65_535),
            listen_fd=reader.fd("ROUTER_LISTEN_FD"),
            grpc_port=reader.integer("ROUTER_GRPC_PORT", 0, at_least=0, at_most=65_535),
            poll_interval_s=reader.seconds("ROUTER_POLL_INTERVAL_S", poll_s, at_least=0.05, at_most=60.0),
            limits=limits,
            gateway=reader.parsed("ROUTER_GATEWAY", _read_gateway, None, "http://host[:port], nothing behind it"),
            hedge=reader.boolean("ROUTER_HEDGE", default=False),
            health=HealthRules(
                failures=reader.integer("ROUTER_EJECT_AFTER", 5, at_least=0, at_most=1000),
                slow_start_s=reader.seconds("ROUTER_SLOW_START_S", 10.0, at_least=0.0, at_most=600.0),
            ),
            probes=ProbeRules(idle_s=reader.seconds("ROUTER_PROBE_INTERVAL_S", 10.0, at_least=0.0, at_most=600.0)),
            drain_timeout_s=reader.seconds("ROUTER_DRAIN_TIMEOUT_S", 30.0, at_least=0.0, at_most=3600.0),
            telemetry=TelemetrySettings.read(reader, environ),
            log_as_json=reader.choice("ROUTER_LOG_FORMAT", LOG_FORMATS, "text") == "json",
            log_level=reader.choice("ROUTER_LOG_LEVEL", LOG_LEVELS, "INFO"),
            access=AccessSettings.read(reader),
            tls=TlsSettings.read(reader),
            lifeline_fd=reader.fd(LIFELINE_FD),
            workers=reader.integer("ROUTER_WORKERS", 0, at_least=1, at_most=_MOST_WORKERS) or None,
            unknown=tuple(sorted(name for name in environ if name.startswith("ROUTER_") and name not in VARIABLES)),
        )
        reader.finish("environment of the router")
        return settings


def _read_gateway(text: str) -> str | None:
    if check_gateway(text) is not None:
        raise ValueError(text)
    return text


def _read_limits(reader: EnvironReader) -> Limits:
    defaults = Limits()
    limits = Limits(
        max_body_bytes=reader.bytes("ROUTER_MAX_BODY", defaults.max_body_bytes),
        stream_over_bytes=reader.bytes("ROUTER_STREAM_OVER", defaults.stream_over_bytes),
        max_held_bytes=reader.bytes("ROUTER_MAX_HELD_BODIES", defaults.max_held_bytes),
        max_connections_per_pool=reader.integer(
            "ROUTER_MAX_CONNECTIONS_PER_POOL", defaults.max_connections_per_pool, at_least=1, at_most=65_535
        ),
        max_connections_per_gateway=reader.integer(
            "ROUTER_MAX_CONNECTIONS_PER_GATEWAY", defaults.max_connections_per_gateway, at_least=1, at_most=65_535
        ),
        max_cold_waiting_per_pool=reader.integer(
            "ROUTER_MAX_COLD_WAITING", defaults.max_cold_waiting_per_pool, at_least=0, at_most=65_535
        ),
        connect_timeout_s=reader.seconds(
            "ROUTER_CONNECT_TIMEOUT_S", defaults.connect_timeout_s, at_least=0.01, at_most=60.0
        ),
    )
    if limits.stream_over_bytes < limits.small_body_bytes:
        reader.refuse("ROUTER_STREAM_OVER", limits.stream_over_bytes, "at least 64Ki")
    if limits.max_held_bytes < limits.max_body_bytes:
        reader.refuse("ROUTER_MAX_HELD_BODIES", limits.max_held_bytes, "at least ROUTER_MAX_BODY")
    return limits
