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

__all__ = ["ForwardedHead", "RequestHead", "read_answer_head", "read_request_head"]

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
            kept += (name, b": ", value, b"\r\n")
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
        head.kept = [part for index, part in enumerate(kept) if kept[index - index % 4] not in named]
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

    request_line: bytes
    """`POST /v2/… HTTP/1.1`, up to where a pool's own path prefix would go in: method and path are kept apart."""
    path: bytes
    lines: bytes

    @classmethod
    def of(
        cls,
        head: RequestHead,
        *,
        method: str,
        path: bytes,
        body_bytes: int | None,
        request_id: bytes,
        client: tuple[str, int] | None,
        scheme: str,
    ) -> ForwardedHead:
        """The head for a request whose body has `body_bytes`; None: it has no body."""
        parts = head.kept
        parts += (REQUEST_ID, b": ", request_id, b"\r\nforwarded: ", _forwarded(head, client, scheme), b"\r\n")
        if body_bytes is not None:
            parts += (b"content-length: ", b"%d" % body_bytes, b"\r\n")
        return cls(method.encode(), path, b"".join(parts))

    def to(self, authority: bytes, prefix: bytes, *, epoch: int, left_s: float) -> bytes:
        """The bytes for one try."""
        return b"%b %b%b HTTP/1.1\r\nhost: %b\r\n%b" % (
            self.request_line,
            prefix,
            self.path,
            authority,
            self.lines,
        ) + b"x-botshard-epoch: %d\r\nx-request-timeout: %.3f\r\n\r\n" % (epoch, left_s)


def _forwarded(head: RequestHead, client: tuple[str, int] | None, scheme: str) -> bytes:
    """`Forwarded` (RFC 7239) with this hop at its end."""
    address = client[0] if client else "unknown"
    hop = b'for="[%b]"' % address.encode() if ":" in address else b"for=" + address.encode()
    host = head.host
    if host and b'"' not in host and b"\\" not in host:
        hop += b';host="%b"' % host if b":" in host else b";host=" + host
    hop += b";proto=" + scheme.encode()
    return head.forwarded + b", " + hop if head.forwarded else hop


@dataclass(slots=True)
class AnswerHead:
    """A pool's head, sorted."""

    kept: Headers
    epoch: bytes = b""
    """The pool's epoch; empty where something else than a pool of ours answered."""
    content_type: bytes = b""
    retry_after: bytes = b""
    has_pool: bool = False
    has_request_id: bool = False


def read_answer_head(headers: Headers, /) -> AnswerHead:
    """Sort a pool's headers (names in lower case)."""
    kept: Headers = []
    head = AnswerHead(kept)
    for field in headers:
        name = field[0]
        if name in _ANSWER_DROPPED:
            if name == b"connection":
                named = {token.strip().lower() for token in field[1].split(b",")} - {b"close", b"keep-alive"}
                if named:
                    return read_answer_head([other for other in headers if other[0] not in named | {b"connection"}])
            continue
        kept.append(field)
        if name == EPOCH:
            head.epoch = field[1]
        elif name == b"content-type":
            head.content_type = field[1]
        elif name == RETRY_AFTER:
            head.retry_after = field[1]
        elif name == POOL:
            head.has_pool = True
        elif name == REQUEST_ID:
            head.has_request_id = True
    return head
