"""Heads of messages on their way through: what is dropped, kept and added. Pure.

Dropped both ways: the headers that speak of one connection only (RFC 9110 §7.6.1), and those that `Connection` names.
Bodies are never looked at; their `Content-Encoding` and the length of a binary request's JSON part go along untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from botshard.oip import headers as names
from botshard.oip.deadlines import TIMEOUT_FORM, read_timeout
from botshard.oip.trace_context import TRACEPARENT, TRACESTATE, is_traceparent, is_tracestate
from router.errors import BadRequestError
from router.upstream import Headers

__all__ = [
    "AnswerHead",
    "ForwardedHead",
    "RequestHead",
    "broken_trace",
    "dropped_with",
    "forwarded_line",
    "framing_of",
    "read_answer_head",
    "read_request_head",
]

EPOCH: Final = names.EPOCH.encode()
POOL: Final = names.POOL.encode()
REQUEST_ID: Final = names.REQUEST_ID.encode()
REQUEST_TIMEOUT: Final = names.REQUEST_TIMEOUT.encode()
RETRY_AFTER: Final = names.RETRY_AFTER.encode()

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_ORDERS_TO_A_GATEWAY: Final = frozenset(
    {
        b"k-kubelet-probe",
        b"k-network-hash",
        b"k-network-probe",
        b"k-proxy-request",
        b"knative-serving-namespace",
        b"knative-serving-revision",
        b"x-envoy-decorator-operation",
        b"x-envoy-downstream-service-cluster",
        b"x-envoy-downstream-service-node",
        b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-external-address",
        b"x-envoy-force-trace",
        b"x-envoy-hedge-on-per-try-timeout",
        b"x-envoy-internal",
        b"x-envoy-ip-tags",
        b"x-envoy-is-timeout-retry",
        b"x-envoy-max-retries",
        b"x-envoy-original-path",
        b"x-envoy-retriable-header-names",
        b"x-envoy-retriable-status-codes",
        b"x-envoy-retry-grpc-on",
        b"x-envoy-retry-on",
        b"x-envoy-upstream-alt-stat-name",
        b"x-envoy-upstream-rq-per-try-timeout-ms",
        b"x-envoy-upstream-rq-timeout-alt-response",
        b"x-envoy-upstream-rq-timeout-ms",
        b"x-envoy-upstream-stream-duration-ms",
    }
)
"""By these a gateway and Knative are told what to do with a request: retries, time limits, which revision, that it is a
probe. They believe whoever is inside the cluster, so a client may not say it through this router."""
_REQUEST_SPECIAL: Final = (
    _HOP_BY_HOP
    | _ORDERS_TO_A_GATEWAY
    | {
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        EPOCH,
        REQUEST_ID,
        REQUEST_TIMEOUT,
    }
)
_OF_THE_GATEWAY: Final = frozenset(
    {
        b"k-network-hash",
        b"k-proxy-request",
        b"x-envoy-attempt-count",
        b"x-envoy-decorator-operation",
        b"x-envoy-degraded",
        b"x-envoy-immediate-health-check-fail",
        b"x-envoy-local-overloaded",
        b"x-envoy-overloaded",
        b"x-envoy-ratelimited",
        b"x-envoy-upstream-service-time",
    }
)
"""What gateway and queue-proxy tell each other and whoever asks them, which is this router, not its client."""
# The server in front writes its own date and name.
_ANSWER_SPECIAL: Final = _HOP_BY_HOP | _OF_THE_GATEWAY | {b"content-length", b"date", b"server"}
_MAX_REQUEST_ID_CHARS: Final = 128


@dataclass(slots=True)
class RequestHead:
    """What a client's head says to us, and what of it goes on."""

    lines: bytes
    """Header lines that go on as they are."""
    host: bytes
    forwarded: bytes
    request_id: bytes
    """Empty: the client gave none that can be passed on."""
    timeout_s: float | None
    content_length: int | None


def read_request_head(
    headers: Headers, fields: Mapping[bytes, bytes], /, dropped: frozenset[bytes] = _REQUEST_SPECIAL
) -> RequestHead:
    """Sort a client's headers (names in lower case), given as they came and by name.

    `dropped`: what does not go on, see `dropped_with`.

    Raises: BadRequestError.
    """
    if b"connection" in fields:
        dropped = dropped | _named_in_connection(headers)
    if TRACEPARENT in fields or TRACESTATE in fields:
        dropped = dropped | broken_trace(headers)
    length, timeout, request_id = fields.get(b"content-length"), fields.get(REQUEST_TIMEOUT), fields.get(REQUEST_ID)
    return RequestHead(
        b"".join([name + b": " + value + b"\r\n" for name, value in headers if name not in dropped]),
        fields.get(b"host", b""),
        _joined(headers, b"forwarded") if b"forwarded" in fields else b"",
        request_id if request_id is not None and _is_request_id(request_id) else b"",
        None if timeout is None else _read_timeout(timeout),
        None if length is None else int(length),
    )


def dropped_with(names_of_secrets: frozenset[bytes], /) -> frozenset[bytes]:
    """Headers that do not go on as they are: those of the connection, those that are made anew, and these."""
    return _REQUEST_SPECIAL | names_of_secrets


def framing_of(body_bytes: int | None, /, *, has_body: bool) -> bytes:
    """The line that says how a body is sent; None: in chunks. One without bytes is told of only if it `has_body`."""
    if body_bytes is None:
        return b"transfer-encoding: chunked\r\n"
    return b"content-length: %d\r\n" % body_bytes if body_bytes or has_body else b""


def _named_in_connection(headers: Headers) -> set[bytes]:
    return {token.strip().lower() for token in _joined(headers, b"connection").split(b",")}


def broken_trace(headers: Headers, /) -> set[bytes]:
    """Names of headers of the trace context that must not be sent on."""
    if not is_traceparent(_joined(headers, TRACEPARENT)):
        return {TRACEPARENT, TRACESTATE}
    return set() if is_tracestate(_joined(headers, TRACESTATE)) else {TRACESTATE}


def _joined(headers: Headers, name: bytes) -> bytes:
    return b", ".join(value for other, value in headers if other == name)


def _is_request_id(value: bytes) -> bool:
    return len(value) <= _MAX_REQUEST_ID_CHARS and value.isascii() and value.decode("ascii").isprintable()


def _read_timeout(value: bytes) -> float:
    timeout_s = read_timeout(value)
    if timeout_s is None:
        raise BadRequestError(f"{TIMEOUT_FORM}, found {value[:40].decode('latin-1')!r}")
    return timeout_s


class ForwardedHead(NamedTuple):
    """A request's head as it goes to pools, but for what differs from try to try."""

    method: bytes
    path: bytes
    """With the query; a pool's own path prefix goes in front."""
    lines: bytes

    @classmethod
    def of(
        cls,
        head: RequestHead,
        *,
        method: bytes,
        path: bytes,
        framing: bytes,
        request_id: bytes,
        client: tuple[str, int] | None,
        scheme: str = "http",
    ) -> ForwardedHead:
        """The head for a request that came over `scheme`; `framing` is the line that says how its body is sent."""
        forwarded = forwarded_line(head, client, scheme)
        lines = b"%bx-request-id: %b\r\n%b%b" % (head.lines, request_id, forwarded, framing)
        return cls(method, path, lines)

    def to(self, authority: bytes, prefix: bytes, *, epoch: int, left_s: float) -> bytes:
        """The bytes for one try; `left_s` is what the pool is told."""
        return b"%b %b%b HTTP/1.1\r\nhost: %b\r\n%bx-botshard-epoch: %d\r\nx-request-timeout: %.3f\r\n\r\n" % (
            self.method,
            prefix,
            self.path,
            authority,
            self.lines,
            epoch,
            left_s,
        )


def forwarded_line(head: RequestHead, client: tuple[str, int] | None, scheme: str, /) -> bytes:
    """`Forwarded` (RFC 7239) with this hop at its end."""
    hop = _hop(client[0] if client else "unknown", head.host, scheme)
    return b"forwarded: %b\r\n" % (head.forwarded + b", " + hop if head.forwarded else hop)


@lru_cache(1024)
def _hop(address: str, host: bytes, scheme: str) -> bytes:
    hop = b'for="[%b]"' % address.encode() if ":" in address else b"for=" + address.encode()
    if host and b'"' not in host and b"\\" not in host:
        hop += b';host="%b"' % host if b":" in host else b";host=" + host
    return hop + b";proto=" + scheme.encode()


@dataclass(slots=True)
class AnswerHead:
    """A pool's head, sorted."""

    lines: list[bytes]
    """Header lines that go on as they are."""
    epoch: bytes
    """The pool's epoch; empty where something else than a pool of ours answered."""
    content_type: bytes
    length: int | None
    """Of the body, where it is said."""
    retry_after: bytes
    has_pool: bool
    has_request_id: bool
    fields: Mapping[bytes, bytes]
    """All of it by name; of headers that come twice the last."""


def read_answer_head(headers: Headers, /) -> AnswerHead:
    """Sort a pool's headers (names in lower case)."""
    fields = dict(headers)
    dropped = _ANSWER_SPECIAL
    if b"connection" in fields:
        dropped = dropped | _named_in_connection(headers)
    length = fields.get(b"content-length")
    return AnswerHead(
        [name + b": " + value + b"\r\n" for name, value in headers if name not in dropped],
        fields.get(EPOCH, b""),
        fields.get(b"content-type", b""),
        None if length is None else int(length),
        fields.get(RETRY_AFTER, b""),
        POOL in fields,
        REQUEST_ID in fields,
        fields,
    )
