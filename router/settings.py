"""What the router is told by its environment, read once and checked whole before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from botshard.environ import LIFELINE_FD, LOG_FORMATS, LOG_LEVELS, EnvironReader
from router.access import settings as access
from router.access.settings import AccessSettings, TlsSettings
from router.limits import Limits

__all__ = ["VARIABLES", "Settings"]

_DEFAULT_POLL_FILE_S: Final = 0.5
_DEFAULT_POLL_S3_S: Final = 1.0

VARIABLES: Final[Mapping[str, str]] = {
    "ROUTER_STORE_URL": "where catalog and routing table are: file:///folder or s3://bucket/prefix?endpoint=…; needed",
    "ROUTER_HOST": "address to listen on (127.0.0.1)",
    "ROUTER_PORT": "port to listen on (8080); 0: any free one, which the log names",
    "ROUTER_LISTEN_FD": "an inherited listening socket, instead of host and port",
    "ROUTER_GRPC_PORT": "port for gRPC, on the same address (0); 0: no gRPC",
    "ROUTER_POLL_INTERVAL_S": "seconds between polls of the store (0.5 for a folder, 1 for S3)",
    "ROUTER_MAX_BODY": "largest request body (16Mi)",
    "ROUTER_MAX_HELD_BODIES": "bytes of request bodies held at once, small ones not counted (256Mi)",
    "ROUTER_MAX_CONNECTIONS_PER_POOL": "connections to one pool (256)",
    "ROUTER_CONNECT_TIMEOUT_S": "seconds for one attempt at a connection (3)",
    "ROUTER_DRAIN_TIMEOUT_S": "seconds that requests in flight have when the router stops (30)",
    "ROUTER_ACCESS_LOG": "true: one log line a request (false)",
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
    access_log: bool = False
    log_as_json: bool = False
    log_level: str = "INFO"
    lifeline_fd: int | None = None
    """A pipe whose end is the order to end."""
    unknown: tuple[str, ...] = ()
    """Variables that start like ours and are not: misspelt, or put there by Kubernetes for a Service named `router`."""
    access: AccessSettings = field(default_factory=AccessSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
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
            drain_timeout_s=reader.seconds("ROUTER_DRAIN_TIMEOUT_S", 30.0, at_least=0.0, at_most=3600.0),
            access_log=reader.boolean("ROUTER_ACCESS_LOG", default=False),
            log_as_json=reader.choice("ROUTER_LOG_FORMAT", LOG_FORMATS, "text") == "json",
            log_level=reader.choice("ROUTER_LOG_LEVEL", LOG_LEVELS, "INFO"),
            access=AccessSettings.read(reader),
            tls=TlsSettings.read(reader),
            lifeline_fd=reader.fd(LIFELINE_FD),
            unknown=tuple(sorted(name for name in environ if name.startswith("ROUTER_") and name not in VARIABLES)),
        )
        reader.finish("environment of the router")
        return settings


def _read_limits(reader: EnvironReader) -> Limits:
    defaults = Limits()
    limits = Limits(
        max_body_bytes=reader.bytes("ROUTER_MAX_BODY", defaults.max_body_bytes),
        max_held_bytes=reader.bytes("ROUTER_MAX_HELD_BODIES", defaults.max_held_bytes),
        max_connections_per_pool=reader.integer(
            "ROUTER_MAX_CONNECTIONS_PER_POOL", defaults.max_connections_per_pool, at_least=1, at_most=65_535
        ),
        connect_timeout_s=reader.seconds(
            "ROUTER_CONNECT_TIMEOUT_S", defaults.connect_timeout_s, at_least=0.01, at_most=60.0
        ),
    )
    if limits.max_held_bytes < limits.max_body_bytes:
        reader.refuse("ROUTER_MAX_HELD_BODIES", limits.max_held_bytes, "at least ROUTER_MAX_BODY")
    return limits
