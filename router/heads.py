"""Heads of messages on their way through: what is dropped, kept and added. Pure.

Dropped both ways: the headers that speak of one connection only (RFC 9110 §7.6.1), and those that `Connection` names.
Bodies are never looked at; their `Content-Encoding` and the length of a binary request's JSON part go along untouched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from botshard.oip import headers as names
from router.errors import BadRequestError
from router.upstream import Headers

__all__ = ["AnswerHead", "ForwardedHead", "RequestHead", "read_answer_head", "read_request_head"]

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
_ANSWER_DROPPED: Final = _HOP_BY_HOP | {b"date", b"server"}
_MAX_REQUEST_ID_CHARS: Final = 128


@dataclass(slots=True)
class RequestHead:
    """What a client's head says to us, and what of it goes on."""

    kept: list[bytes]
    """Lines that go on as they are."""
    host: bytes = b""
    forwarded: bytes = b""
    request_id: bytes = b""
    """Empty: the client gave none that can be passed on."""
    timeout_s: float | None = None
    content_length: int | None = None


def read_request_head(headers: Iterable[tuple[bytes, bytes]], /) -> RequestHead:
    """Sort a client's headers (names in lower case).

    Raises: BadRequestError.
    """
    kept: list[bytes] = []
    head = RequestHead(kept)
    named: set[bytes] = set()
    forwarded: list[bytes] = []
    for name, value in headers:
        if name not in _REQUEST_SPECIAL:
            kept.append(b"%b: %b\r\n" % (name, value))
        elif name == b"host":
            head.host = value
        elif name == b"content-length":
            head.content_length = int(value)
        elif name == REQUEST_ID:
            head.request_id = value if _is_request_id(value) else b""
        elif name == REQUEST_TIMEOUT:
            head.timeout_s = _read_timeout(value)
        elif name == b"forwarded":
            forwarded.append(value)
        elif name == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    head.forwarded = b", ".join(forwarded)
    named -= {b"close", b"keep-alive", b""}
    if named:
        head.kept = [line for line in kept if line.partition(b":")[0] not in named]
    return head


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
        lines = b"%bx-request-id: %b\r\nforwarded: %b\r\n%b" % (
            b"".join(head.kept),
            request_id,
            _forwarded(head, client),
            length,
        )
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


def _forwarded(head: RequestHead, client: tuple[str, int] | None) -> bytes:
    """`Forwarded` (RFC 7239) with this hop at its end."""
    address = client[0] if client else "unknown"
    hop = b'for="[%b]"' % address.encode() if ":" in address else b"for=" + address.encode()
    host = head.host
    if host and b'"' not in host and b"\\" not in host:
        hop += b';host="%b"' % host if b":" in host else b";host=" + host
    hop += b";proto=http"
    return head.forwarded + b", " + hop if head.forwarded else hop


@dataclass(slots=True)
class AnswerHead:
    """A pool's head, sorted."""

    lines: list[bytes]
    """Header lines that go on as they are."""
    epoch: bytes = b""
    """The pool's epoch; empty where something else than a pool of ours answered."""
    content_type: bytes = b""
    length: int | None = None
    """Of the body, where it is said."""
    retry_after: bytes = b""
    has_pool: bool = False
    has_request_id: bool = False


def read_answer_head(headers: Headers, /) -> AnswerHead:
    """Sort a pool's headers (names in lower case)."""
    lines: list[bytes] = []
    head = AnswerHead(lines)
    for name, value in headers:
        if name in _ANSWER_DROPPED:
            if name == b"connection":
                named = {token.strip().lower() for token in value.split(b",")} - {b"close", b"keep-alive"}
                if named:
                    return read_answer_head([other for other in headers if other[0] not in named | {b"connection"}])
            continue
        if name == b"content-length":
            head.length = int(value)
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
        if name == EPOCH:
            head.epoch = value
        elif name == b"content-type":
            head.content_type = value
        elif name == RETRY_AFTER:
            head.retry_after = value
        elif name == POOL:
            head.has_pool = True
        elif name == REQUEST_ID:
            head.has_request_id = True
    return head
