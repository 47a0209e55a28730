"""Spans to an OpenTelemetry collector, by the SDK's own batches: bounded, in a thread, dropped where nobody takes them.

The SDK reads the usual `OTEL_…` variables itself: headers, certificates, timeouts, attributes of the resource, sizes
and pace of its batches. Its queue keeps the newest 2,048 spans; what does not fit is gone, and no request knows of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import botshard
from router.telemetry.traces import Trace, Try

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["Ended", "MissingExtraError", "SpanSink"]

_SERVICE: Final = "botshard-router"
_FIRST_SERVER_ERROR: Final = 500
_FIRST_ERROR: Final = 400
_LAST_SPANS_S: Final = 3.0
"""How long the end of the router waits for them."""
_GIVEN_UP_S: Final = 1.0
_Attributes: TypeAlias = dict[str, str | int | float]


class MissingExtraError(Exception):
    """Traces are wanted, and the libraries that write them are not there."""


class Ended(NamedTuple):
    """What a span tells of a request that is over."""

    method: str
    path: str
    bot: str
    pool: str
    group: str
    status: int
    request_id: str
    client: str
    scheme: str
    failure: str
    """Why it has no answer of a pool; empty: it has one."""
    stages: Mapping[str, float]
    """Of a cold request: seconds by stage."""


class SpanSink:
    """Takes traces of requests that are over. `close` once."""

    def __init__(self, endpoint: str, /) -> None:
        """`endpoint` is the whole URL that traces are posted to.

        Raises: MissingExtraError.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError as error:
            raise MissingExtraError(
                f"traces are to go to an OTLP endpoint, which needs the extra: pip install 'botshard[otel]' ({error})"
            ) from error
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before what is said here.
        ours = {"service.name": _SERVICE, "service.version": botshard.__version__}
        self._resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        self._scope = InstrumentationScope("botshard.router", botshard.__version__)
        self._exporter = OTLPSpanExporter(endpoint=endpoint)
        self._processor = BatchSpanProcessor(self._exporter)
        self.spans = 0
        """Handed over; whether they arrive is for the SDK's log."""

    def take(self, trace: Trace, ended: Ended, ended_ns: int, /) -> None:
        """All spans of a request. Costs some ten microseconds a span and never blocks."""
        for draft in _drafts(trace, ended, ended_ns):
            self._processor.on_end(self._span(trace, draft))
            self.spans += 1

    def close(self) -> None:
        """Send what is left, in a thread of its own: a collector that hangs holds up nobody for long."""
        closing = threading.Thread(target=self._processor.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(_LAST_SPANS_S)
        if closing.is_alive():
            self._exporter.shutdown()  # it is between two tries, and gives up the next one
            closing.join(_GIVEN_UP_S)

    # ── spans ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _span(self, trace: Trace, draft: _Draft) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        flags = TraceFlags(TraceFlags.SAMPLED)
        parent_id = draft.parent_id
        parent = SpanContext(trace.trace_id, parent_id, is_remote=True, trace_flags=flags) if parent_id else None
        return ReadableSpan(
            draft.name,
            context=SpanContext(trace.trace_id, draft.span_id, is_remote=False, trace_flags=flags),
            parent=parent,
            resource=self._resource,
            attributes={key: value for key, value in draft.attributes.items() if value != ""},
            kind=SpanKind.SERVER if draft.is_server else SpanKind.CLIENT,
            status=Status(StatusCode.ERROR if "error.type" in draft.attributes else StatusCode.UNSET),
            start_time=draft.began_ns,
            end_time=draft.ended_ns,
            instrumentation_scope=self._scope,
        )


class _Draft(NamedTuple):
    """A span, but for what all have."""

    name: str
    is_server: bool
    span_id: int
    parent_id: int
    began_ns: int
    ended_ns: int
    attributes: _Attributes


def _drafts(trace: Trace, ended: Ended, ended_ns: int) -> Iterator[_Draft]:
    """The tries, then what the client asked."""
    for number, one in enumerate(trace.tries):
        attributes = _of_try(one, ended.method, number)
        yield _Draft(ended.method, False, one.span_id, trace.span_id, one.began_ns, one.ended_ns, attributes)
    attributes = {
        "http.request.method": ended.method,
        "url.path": ended.path,
        "url.scheme": ended.scheme,
        "http.response.status_code": ended.status,
        "client.address": ended.client,
        "botshard.bot": ended.bot,
        "botshard.pool": ended.pool,
        "botshard.group": ended.group,
        "botshard.request_id": ended.request_id,
    }
    attributes |= {f"botshard.cold.{stage}_s": round(took_s, 6) for stage, took_s in ended.stages.items()}
    if ended.failure or ended.status >= _FIRST_SERVER_ERROR:
        attributes["error.type"] = ended.failure or str(ended.status)
    name = f"{ended.method} bot"
    yield _Draft(name, True, trace.span_id, trace.parent_id, trace.began_ns, ended_ns, attributes)


def _of_try(one: Try, method: str, number: int) -> _Attributes:
    host, colon, port = one.authority.rpartition(":")
    attributes: _Attributes = {
        "http.request.method": method,
        "server.address": host if colon else one.authority,
        "botshard.pool": one.pool,
    }
    if colon and port.isdigit():
        attributes["server.port"] = int(port)
    if number:
        attributes["http.request.resend_count"] = number
    if one.status:
        attributes["http.response.status_code"] = one.status
    if one.failure or one.status >= _FIRST_ERROR:
        attributes["error.type"] = one.failure or str(one.status)
    return attributes
