"""What is to be told of requests, as the environment says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from botshard.environ import EnvironReader

__all__ = ["VARIABLES", "TelemetrySettings"]

_DEFAULT_TRACE_SHARE: Final = 0.01
_SHARE: Final = "a share from 0 to 1"
_PATH: Final = "/v1/traces"

VARIABLES: Final[Mapping[str, str]] = {
    "ROUTER_ACCESS_LOG": "a log line a request: true, false or a share such as 0.01 (false); failures have one anyway",
    "ROUTER_TOP_BOTS": "how many of the busiest bots have a label in the metrics (20); 0: none",
    "ROUTER_SERVER_TIMING": "true: answers of cold requests tell where all of their time went (true)",
    "ROUTER_OTLP_ENDPOINT": "where traces go by OTLP over HTTP, such as http://collector:4318; unset: nowhere",
    "ROUTER_TRACE_SHARE": "share of the requests that are traced where the caller does not say (0.01)",
}


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """See the module."""

    access_log_share: float = 0.0
    """Of the requests that did not fail."""
    top_bots: int = 20
    server_timing: bool = True
    otlp_traces_url: str = ""
    """Whole URL; empty: no traces."""
    trace_share: float = _DEFAULT_TRACE_SHARE

    @classmethod
    def read(cls, reader: EnvironReader, environ: Mapping[str, str], /) -> TelemetrySettings:
        """The settings; problems stay with the reader. The standard's `OTEL_…` variables stand in for ours."""
        return cls(
            access_log_share=reader.parsed("ROUTER_ACCESS_LOG", _read_log_share, 0.0, f"true, false or {_SHARE}"),
            top_bots=reader.integer("ROUTER_TOP_BOTS", 20, at_least=0, at_most=1000),
            server_timing=reader.boolean("ROUTER_SERVER_TIMING", default=True),
            otlp_traces_url=_read_endpoint(reader, environ),
            trace_share=reader.parsed("ROUTER_TRACE_SHARE", _read_share, _read_sampler(reader, environ), _SHARE),
        )


def _read_share(text: str) -> float:
    share = float(text)
    if not 0.0 <= share <= 1.0:
        raise ValueError(text)
    return share


def _read_log_share(text: str) -> float:
    match text.lower():
        case "true":
            return 1.0
        case "false":
            return 0.0
        case _:
            return _read_share(text)


def _read_endpoint(reader: EnvironReader, environ: Mapping[str, str]) -> str:
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        standard = whole = ""
    else:
        standard, whole = (reader.text(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))
    ours = reader.text("ROUTER_OTLP_ENDPOINT")
    name = "ROUTER_OTLP_ENDPOINT" if ours else "OTEL_EXPORTER_OTLP_ENDPOINT"
    url = _of_traces(ours) or whole or _of_traces(standard)
    if not url:
        return ""
    parts = urlsplit(url)
    # A password in it would be in this process's messages; for those there is OTEL_EXPORTER_OTLP_HEADERS.
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        reader.refuse(name, "a URL (not shown)", "http://HOST:PORT or https://HOST:PORT, without user or password")
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if not ours and protocol not in (None, "", "http/protobuf"):
        reader.refuse("OTEL_EXPORTER_OTLP_PROTOCOL", protocol, "http/protobuf, the only one that the router speaks")
    return url


def _of_traces(base: str) -> str:
    return base if not base or base.endswith(_PATH) else base.rstrip("/") + _PATH


def _read_sampler(reader: EnvironReader, environ: Mapping[str, str]) -> float:
    match environ.get("OTEL_TRACES_SAMPLER", "").removeprefix("parentbased_"):
        case "always_on":
            return 1.0
        case "always_off":
            return 0.0
        case "traceidratio":
            return reader.parsed("OTEL_TRACES_SAMPLER_ARG", _read_share, 1.0, _SHARE)
        case _:
            return _DEFAULT_TRACE_SHARE
