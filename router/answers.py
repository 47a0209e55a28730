"""What an answer means for the request, and which hop gave it: told from status, headers, first bytes. Pure, one table.

Between router and replica there may be a gateway (Envoy), Knative's activator and its queue-proxy, each with answers of
its own. A replica of ours always says its epoch; what lacks it and is an error came from something in front of it, or
from a model server that is none of ours.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import Final, NamedTuple

from router.heads import AnswerHead

__all__ = ["ROWS", "TEXT_BYTES", "Hop", "Row", "Verdict", "judge", "needs_text", "row_of"]

TEXT_BYTES: Final = 256
"""So much of a body at most is needed to tell whose it is."""
_ERRORS_FROM: Final = 400
_JSON: Final = b"application/json"


class Verdict(StrEnum):
    """What to do with an answer."""

    FORWARD = "forward"
    """It is the answer to the client."""
    MISDIRECTED = "misdirected"
    """The pool says that the bot is not its own: read the table again, choose again."""
    NOT_FOUND = "not_found"
    """The pool does not know the bot, which the catalog here says is live: one of the two is behind."""
    UNROUTED = "unrouted"
    """The gateway does not know the pool's host: the table here is behind, or the pool is going."""
    NO_REPLICA = "no_replica"
    """Something in front of the pool found no replica that answers: try again."""
    LOST = "lost"
    """A replica had the request, and its connection ended: as if it had been this router's own."""
    OVERFLOW = "overflow"
    """The gateway has as many requests as it lets through at once: a bound of its own, no fault of the pool."""
    FULL = "full"
    """The pool has as many requests as it takes, waiting ones too: another pool may have room, this one has not."""
    WRAP = "wrap"
    """It is the answer, but not in the protocol's form of an error."""


class Hop(StrEnum):
    """Whose answer it is; also a label of metrics."""

    ROUTER = "router"
    GATEWAY = "gateway"
    ACTIVATOR = "activator"
    QUEUE_PROXY = "queue_proxy"
    REPLICA = "replica"


class Row(NamedTuple):
    """An answer that something in front of a pool gives, and by what it is known. What is empty here does not matter.

    Of several that fit, the first is meant.
    """

    hop: Hop
    reason: str
    """In a word; also a label of metrics."""
    verdict: Verdict
    status: int
    source: str
    """Where it is known from."""
    text: tuple[bytes, ...] = ()
    """One of these stands in the first bytes of the body."""
    header: bytes = b""
    """Is there."""
    is_empty: bool = False
    """There is no body."""
    is_json: bool = False
    """The body is JSON."""


_RESET: Final = b"reset reason: "
_ENVOY: Final = "Envoy 1.40, source/common/router: sendLocalReply"
_GO_ERROR: Final = "Knative 1.21, network.ErrorHandler: http.Error(err, 502) of Go's reverse proxy"
_SEEN: Final = "seen on a cluster: Knative 0.48.2, Kourier 0.48.1, Envoy 1.36"
_SDK: Final = "KServe SDK 0.21, kserve/errors.py"

ROWS: Final = (
    # ── the gateway ──
    Row(Hop.GATEWAY, "no_route", Verdict.UNROUTED, 404, _SEEN, is_empty=True),
    Row(Hop.GATEWAY, "overflow", Verdict.OVERFLOW, 503, _ENVOY + ", circuit breakers", header=b"x-envoy-overloaded"),
    Row(Hop.GATEWAY, "overflow", Verdict.OVERFLOW, 503, _ENVOY + ", circuit breakers", text=(_RESET + b"overflow",)),
    Row(
        Hop.GATEWAY,
        "overloaded",
        Verdict.OVERFLOW,
        503,
        "Envoy 1.40, overload manager: stop_accepting_requests",
        header=b"x-envoy-local-overloaded",
    ),
    Row(Hop.GATEWAY, "no_endpoint", Verdict.NO_REPLICA, 503, _ENVOY, text=(b"no healthy upstream",)),
    Row(
        Hop.GATEWAY,
        "no_connection",
        Verdict.NO_REPLICA,
        503,
        _ENVOY + ", failures of a connection pool",
        text=(
            _RESET + b"remote connection failure",
            _RESET + b"local connection failure",
            _RESET + b"connection timeout",
            _RESET + b"connection failure",
        ),
    ),
    Row(
        Hop.GATEWAY,
        "lost",
        Verdict.LOST,
        503,
        _SEEN + "; " + _ENVOY + ", stream resets",
        text=(_RESET + b"connection termination", _RESET + b"remote reset", _RESET + b"local reset"),
    ),
    Row(Hop.GATEWAY, "no_connection", Verdict.NO_REPLICA, 503, _SEEN, text=(b"upstream connect error",)),
    Row(Hop.GATEWAY, "invalid_answer", Verdict.WRAP, 502, _ENVOY, text=(_RESET + b"protocol error",)),
    Row(Hop.GATEWAY, "timeout", Verdict.WRAP, 504, _ENVOY, text=(b"upstream request timeout",)),
    Row(Hop.GATEWAY, "limited", Verdict.WRAP, 429, "Envoy 1.40, rate limit filter", header=b"x-envoy-ratelimited"),
    # ── the activator ──
    Row(
        Hop.ACTIVATOR,
        "timeout",
        Verdict.WRAP,
        504,
        _SEEN + "; Knative 1.21, cmd/activator: NewTimeoutHandler",
        text=(b"activator request timeout",),
    ),
    Row(
        Hop.ACTIVATOR,
        "no_capacity",
        Verdict.FULL,
        503,
        "Knative 1.21, pkg/activator/handler: throttler.Try until the revision's timeout",
        text=(b"context deadline exceeded",),
    ),
    Row(
        Hop.ACTIVATOR,
        "overload",
        Verdict.FULL,
        503,
        "Knative before 0.10, pkg/activator: ErrActivatorOverload",
        text=(b"activator overload",),
    ),
    Row(
        Hop.ACTIVATOR,
        "no_revision",
        Verdict.UNROUTED,
        404,
        "Knative 1.21, pkg/activator/handler/context_handler.go: sendError",
        text=(b"Error getting active endpoint",),
    ),
    Row(
        Hop.ACTIVATOR,
        "no_revision",
        Verdict.NO_REPLICA,
        500,
        "Knative 1.21, pkg/activator/handler/context_handler.go: sendError",
        text=(b"Error getting active endpoint",),
    ),
    # ── queue-proxy: it asks its replica at 127.0.0.1, while the activator asks queue-proxies at their addresses ──
    Row(Hop.QUEUE_PROXY, "full", Verdict.FULL, 503, _SEEN, text=(b"pending request queue full",)),
    Row(Hop.QUEUE_PROXY, "no_process", Verdict.NO_REPLICA, 502, _SEEN, text=(b"dial tcp 127.0.0.1:",)),
    Row(Hop.QUEUE_PROXY, "lost", Verdict.LOST, 502, _SEEN, text=(b"read tcp 127.0.0.1:", b"write tcp 127.0.0.1:")),
    Row(Hop.ACTIVATOR, "no_connection", Verdict.NO_REPLICA, 502, _GO_ERROR, text=(b"dial tcp ",)),
    Row(Hop.ACTIVATOR, "lost", Verdict.LOST, 502, _GO_ERROR, text=(b"read tcp ", b"write tcp ")),
    Row(Hop.QUEUE_PROXY, "lost", Verdict.LOST, 502, _GO_ERROR, text=(b"EOF", b"server closed idle connection")),
    Row(Hop.QUEUE_PROXY, "timeout", Verdict.WRAP, 504, _SEEN, text=(b"request timeout",)),
    # ── a model server that is none of ours ──
    Row(Hop.REPLICA, "not_found", Verdict.NOT_FOUND, 404, _SDK, text=(b'{"error"',)),
    Row(Hop.REPLICA, "no_such_path", Verdict.UNROUTED, 404, "FastAPI's own 404", text=(b'{"detail"',)),
    Row(Hop.REPLICA, "not_found", Verdict.NOT_FOUND, 404, _SDK, is_json=True),
    Row(Hop.REPLICA, "not_ready", Verdict.WRAP, 503, _SDK, is_json=True),
    # ── what nobody has signed ──
    Row(Hop.GATEWAY, "not_found", Verdict.UNROUTED, 404, "any proxy: its own page, text or HTML"),
    Row(Hop.GATEWAY, "bad_gateway", Verdict.NO_REPLICA, 502, "RFC 9110 §15.6.3"),
    Row(Hop.GATEWAY, "not_now", Verdict.WRAP, 503, "RFC 9110 §15.6.4", header=b"retry-after"),
    Row(Hop.GATEWAY, "unavailable", Verdict.NO_REPLICA, 503, "RFC 9110 §15.6.4"),
    Row(Hop.GATEWAY, "timeout", Verdict.WRAP, 504, "RFC 9110 §15.6.5"),
)
"""All that are known."""

_STATUSES: Final = frozenset(row.status for row in ROWS)
_BY_STATUS: Final = {status: tuple(row for row in ROWS if row.status == status) for status in _STATUSES}
_FORWARD: Final = Row(Hop.REPLICA, "answer", Verdict.FORWARD, 0, "a replica of ours, by its epoch")
_MISDIRECTED: Final = Row(Hop.REPLICA, "misdirected", Verdict.MISDIRECTED, 421, "a replica of ours")
_NOT_FOUND: Final = Row(Hop.REPLICA, "not_found", Verdict.NOT_FOUND, 404, "a replica of ours, by its epoch")
_WRAP_GATEWAY: Final = Row(Hop.GATEWAY, "error", Verdict.WRAP, 0, "Envoy's own, by its headers")
_WRAP: Final = Row(Hop.REPLICA, "error", Verdict.WRAP, 0, "a model server that is none of ours")


def judge(status: int, head: AnswerHead, text: bytes = b"", /) -> Verdict:
    """What an answer with this status, head and beginning of its body means."""
    return row_of(status, head, text).verdict


def needs_text(status: int, head: AnswerHead, /) -> bool:
    """Whether the beginning of the body says more than status and head do."""
    return status >= _ERRORS_FROM and not head.epoch and head.length != 0 and status in _STATUSES


def row_of(status: int, head: AnswerHead, text: bytes = b"", /) -> Row:
    """Whose answer it is, and what it means."""
    if status < _ERRORS_FROM:
        return _FORWARD
    if status == HTTPStatus.MISDIRECTED_REQUEST:
        return _MISDIRECTED
    if head.epoch:
        return _NOT_FOUND if status == HTTPStatus.NOT_FOUND else _FORWARD
    for row in _BY_STATUS.get(status, ()):
        if _fits(row, head, text):
            return row
    return _WRAP_GATEWAY if _is_envoys_own(head) else _WRAP


def _fits(row: Row, head: AnswerHead, text: bytes) -> bool:
    is_json = head.content_type.startswith(_JSON)
    return not (
        (row.is_empty and (text or head.length or is_json))
        or (row.header and row.header not in head.fields)
        or (row.is_json and not is_json)
        or (row.text and not any(part in text for part in row.text))
        or (row.text and is_json and row.hop is not Hop.REPLICA)  # a model server may say anything in its errors
    )


def _is_envoys_own(head: AnswerHead) -> bool:
    """Envoy names itself in every answer, and how long the other side took in all that are not its own."""
    return head.fields.get(b"server") == b"envoy" and b"x-envoy-upstream-service-time" not in head.fields
