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
from router.errors import BadRequestError
from router.upstream import Headers

__all__ = ["AnswerHead", "ForwardedHead", "RequestHead", "forwarded_line", "read_answer_head", "read_request_head"]

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
_REQUEST_SPECIAL: Final = _HOP_BY_HOP | {
    b"content-length",
    b"expect",
    b"forwarded",
    b"host",
    EPOCH,
    REQUEST_ID,
    REQUEST_TIMEOUT,
}
# The server in front writes its own date and name.
_ANSWER_SPECIAL: Final = _HOP_BY_HOP | {b"content-length", b"date", b"server"}
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


def read_request_head(headers: Headers, fields: Mapping[bytes, bytes], /) -> RequestHead:
    """Sort a client's headers (names in lower case), given as they came and by name.

    Raises: BadRequestError.
    """
    dropped = _REQUEST_SPECIAL
    if b"connection" in fields:
        dropped = dropped | _named_in_connection(headers)
    length, timeout, request_id = fields.get(b"content-length"), fields.get(REQUEST_TIMEOUT), fields.get(REQUEST_ID)
    return RequestHead(
        b"".join([name + b": " + value + b"\r\n" for name, value in headers if name not in dropped]),
        fields.get(b"host", b""),
        _joined(headers, b"forwarded") if b"forwarded" in fields else b"",
        request_id if request_id is not None and _is_request_id(request_id) else b"",
        None if timeout is None else _read_timeout(timeout),
        None if length is None else int(length),
    )


def _named_in_connection(headers: Headers) -> set[bytes]:
    return {token.strip().lower() for token in _joined(headers, b"connection").split(b",")}


def _joined(headers: Headers, name: bytes) -> bytes:
    return b", ".join(value for other, value in headers if other == name)


def _is_request_id(value: bytes) -> bool:
    return len(value) <= _MAX_REQUEST_ID_CHARS and value.isascii() and value.decode("ascii").isprintable()


def _read_timeout(value: bytes) -> float:
    try:
        timeout_s = float(value)
    except ValueError:
        timeout_s = -1.0
    if not 0 < timeout_s < float("inf"):
        shown = value[:40].decode("latin-1")
        raise BadRequestError(f"X-Request-Timeout must be a number of seconds over 0, such as 2.5, found {shown!r}")
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
        body_bytes: int | None,
        request_id: bytes,
        client: tuple[str, int] | None,
    ) -> ForwardedHead:
        """The head for a request whose body has `body_bytes`; None: it has no body."""
        length = b"" if body_bytes is None else b"content-length: %d\r\n" % body_bytes
        lines = b"%bx-request-id: %b\r\n%b%b" % (head.lines, request_id, forwarded_line(head, client), length)
        return cls(method, path, lines)

    def to(self, authority: bytes, prefix: bytes, *, epoch: int, left_s: float) -> bytes:
        """The bytes for one try."""
        return b"%b %b%b HTTP/1.1\r\nhost: %b\r\n%bx-botshard-epoch: %d\r\nx-request-timeout: %.3f\r\n\r\n" % (
            self.method,
            prefix,
            self.path,
            authority,
            self.lines,
            epoch,
            left_s,
        )


def forwarded_line(head: RequestHead, client: tuple[str, int] | None, /) -> bytes:
    """`Forwarded` (RFC 7239) with this hop at its end."""
    hop = _hop(client[0] if client else "unknown", head.host)
    return b"forwarded: %b\r\n" % (head.forwarded + b", " + hop if head.forwarded else hop)


@lru_cache(1024)
def _hop(address: str, host: bytes) -> bytes:
    hop = b'for="[%b]"' % address.encode() if ":" in address else b"for=" + address.encode()
    if host and b'"' not in host and b"\\" not in host:
        hop += b';host="%b"' % host if b":" in host else b";host=" + host
    return hop + b";proto=http"


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
    )
