"""All that is told of requests beyond counts, put together: what `Front` asks when one begins and when it is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

from botshard.logs import fields
from botshard.oip.trace_context import TRACEPARENT, read_traceparent
from router.errors import ClientGoneError, UnknownBotError
from router.refusals import RefusalLog
from router.telemetry.busiest import BusiestBots
from router.telemetry.causes import cause_of
from router.telemetry.errors_seen import ErrorsSeen
from router.telemetry.ledger import ColdRequest, Ledger
from router.telemetry.otlp import Ended, SpanSink
from router.telemetry.settings import TelemetrySettings
from router.telemetry.traces import Trace, Tracing

if TYPE_CHECKING:
    from router.telemetry.ended_request import EndedRequest

__all__ = ["Look", "Telemetry"]

_MOST_PATH_CHARS: Final = 200
_MOST_NAME_CHARS: Final = 128
"""Of what may be no bot's name at all."""


class Look(NamedTuple):
    """What is to be told of one request."""

    is_logged: bool
    trace: Trace | None


class Telemetry:
    """See the module. `close` once."""

    def __init__(
        self, settings: TelemetrySettings, *, busiest: BusiestBots, refusals: RefusalLog, log: logging.Logger
    ) -> None:
        """Raises: MissingExtraError where traces are wanted and cannot be written."""
        self.busiest = busiest
        self.ledger = Ledger()
        self.errors = ErrorsSeen()
        self._refusals = refusals
        self._log = log
        self._log_share = settings.access_log_share
        self._random = Random()  # noqa: S311 - which request is told of is no secret
        self._spans = SpanSink(settings.otlp_traces_url) if settings.otlp_traces_url else None
        self._tracing = Tracing(settings.trace_share) if self._spans is not None else None
        self.tells_times = settings.server_timing
        """Whether answers of cold requests tell the whole of it."""
        self._wanted: Look | None = None
        self.is_watching = self._log_share > 0 or self._tracing is not None
        """Whether `look` can find anything."""

    def look(self, traceparent: bytes | None, /) -> Look | None:
        """Decides when a request begins whether it is told of, should it not fail; None: nothing is."""
        if self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            return wanted
        is_logged = self._log_share > 0 and (self._log_share >= 1 or self._random.random() < self._log_share)
        trace = None if self._tracing is None else self._tracing.look(traceparent)
        return Look(is_logged, trace) if is_logged or trace is not None else None

    def wants(self, traceparent: bytes | None, /) -> bool:
        """Whether something is told of a request that could go the short way, on which nothing is.

        If so it goes the long way, and this is what `look` gives it: by chance it is told of no more than once.
        """
        self._wanted = self.look(traceparent)
        return self._wanted is not None

    def close(self) -> None:
        """Send what is left; blocks for a few seconds at most."""
        if self._spans is not None:
            self._spans.close()

    def families(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        yield from self.busiest.families()
        yield from self.ledger.families()
        spans = 0 if self._spans is None else self._spans.spans
        yield CounterMetricFamily("botshard_router_spans", "Spans handed over to be sent", spans)

    # ── a request is over ─────────────────────────────────────────────────────────────────────────────────────────────

    def ended(self, request: EndedRequest, took_s: float, /) -> None:
        """Tell of a request that failed, was cold, or is to be told of anyway."""
        error, look = request.error, request.look
        cause = "" if error is None else cause_of(error)
        pool = request.pool
        cold = request.cold
        if error is not None and not isinstance(error, UnknownBotError):
            name = "" if pool is None else pool.route.name
            self.errors.note(
                request.bot_id,
                name,
                request.status,
                cause,
                text=str(error),
                request_id=request.request_id.decode(),
            )
        if cold is not None and pool is not None:
            cold.stages["reply"] = max(took_s - sum(cold.stages.values()), 0.0)
            self.ledger.note(
                ColdRequest(
                    time.time(),
                    request.bot_id,
                    pool.route.group,
                    pool.route.name,
                    request.status,
                    request.request_id.decode(),
                    cold.waited_for,
                    took_s,
                    cold.stages,
                )
            )
        if error is not None or (look is not None and look.is_logged):
            self._tell(request, took_s, cause)
        if look is not None and look.trace is not None:
            self._trace(request, look.trace, cause)

    def _tell(self, request: EndedRequest, took_s: float, cause: str) -> None:
        """One line: of every request where that is wanted, of those that failed here in any case."""
        error, look, cold = request.error, request.look, request.cold
        event = fields(
            method=request.method.decode(),
            path=_shown_path(request.target),
            bot=request.bot_id[:_MOST_NAME_CHARS],
            **({"tenant": request.tenant} if request.tenant else {}),
            status=request.status,
            bytes_in=request.body_bytes,
            bytes_out=request.bytes_out,
            took_s=round(took_s, 6),
            pool="" if request.pool is None else request.pool.route.name,
            tries=request.tries,
            hop=request.hop,
            request_id=request.request_id.decode(),
            **_trace_id(request),
            **({} if error is None else {"cause": cause, "why": str(error)}),
            **({} if cold is None else {f"{stage}_s": round(spent_s, 6) for stage, spent_s in cold.stages.items()}),
        )
        is_plain = error is None or isinstance(error, ClientGoneError)
        if is_plain and look is not None and look.is_logged:
            self._log.info("request", extra=event)
        elif is_plain:
            self._refusals.tell(logging.INFO, "request", event, status=request.status)
        elif request.has_answered:
            self._refusals.tell(logging.WARNING, "answer cut off", event, status=request.status)
        else:
            self._refusals.tell(logging.INFO, "request refused", event, status=request.status)

    def _trace(self, request: EndedRequest, trace: Trace, cause: str) -> None:
        assert self._spans is not None  # noqa: S101 - else nothing is traced
        pool, cold = request.pool, request.cold
        trace.try_ends(cause, status=0 if cause else request.status)
        ended = Ended(
            method=request.method.decode(),
            path=_shown_path(request.target),
            bot=request.bot_id[:_MOST_NAME_CHARS],
            pool="" if pool is None else pool.route.name,
            group="" if pool is None else pool.route.group,
            status=request.status,
            request_id=request.request_id.decode(),
            client=request.link.peer[0] if request.link.peer else "",
            scheme=request.link.scheme,
            failure=cause,
            stages={} if cold is None else cold.stages,
        )
        try:
            self._spans.take(trace, ended, time.time_ns())
        except Exception:  # noqa: BLE001 - told
            # Whatever goes wrong in a library that watches, the request has its answer and its connection goes on.
            self._log.exception("spans cannot be made")


def _shown_path(target: bytes) -> str:
    """Without the query, in which clients put what nobody else may see."""
    return target.partition(b"?")[0][:_MOST_PATH_CHARS].decode(errors="replace")


def _trace_id(request: EndedRequest) -> dict[str, str]:
    if request.look is not None and request.look.trace is not None:
        return {"trace_id": request.look.trace.trace_hex}
    header = request.fields.get(TRACEPARENT)
    context = None if header is None else read_traceparent(header)
    return {} if context is None else {"trace_id": f"{context.trace_id:032x}"}
