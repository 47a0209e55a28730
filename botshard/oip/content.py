"""Compressed bodies, inflated to a bound: a kilobyte of zeros must not become a gigabyte in memory."""

from __future__ import annotations

import zlib
from typing import Final

from botshard.oip.errors import BodyTooLargeError, InvalidInputError

__all__ = ["decompress"]

_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
_ZLIB_CM_DEFLATE: Final = 8  # RFC 1950: the low half of the first byte of a zlib stream


def decompress(body: bytes | memoryview, encoding: str | None, limit_bytes: int) -> bytes | memoryview:
    """The body that `Content-Encoding` hid; `body` itself where nothing did.

    Takes `gzip` (of any number of members) and `deflate` (with zlib's header, or raw as some clients send it).

    Raises: BodyTooLargeError when it inflates to more than `limit_bytes`; InvalidInputError when it does not inflate,
        or for another encoding.
    """
    name = (encoding or "identity").strip().lower()
    if name == "identity":
        return body
    if name in ("gzip", "x-gzip"):
        wbits = _GZIP_WBITS
    elif name == "deflate":
        wbits = zlib.MAX_WBITS if _has_zlib_header(memoryview(body)) else -zlib.MAX_WBITS
    else:
        raise InvalidInputError(None, f"Content-Encoding must be gzip, deflate or identity, found {name[:40]!r}")
    try:
        return _inflate(body, wbits, limit_bytes, many=wbits == _GZIP_WBITS)
    except zlib.error as error:
        raise InvalidInputError(None, f"the body is not {name}: {error}") from error


def _has_zlib_header(body: memoryview) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == _ZLIB_CM_DEFLATE and int.from_bytes(body[:2], "big") % 31 == 0


def _inflate(body: bytes | memoryview, wbits: int, limit_bytes: int, *, many: bool) -> bytes:
    parts: list[bytes] = []
    left_bytes = limit_bytes
    rest: bytes | memoryview = body
    while True:
        stream = zlib.decompressobj(wbits)
        part = stream.decompress(rest, left_bytes + 1)  # one more than allowed, to see that there is more
        left_bytes -= len(part)
        if left_bytes < 0:
            raise BodyTooLargeError(f"the body inflates to more than {limit_bytes} bytes", limit_bytes=limit_bytes)
        if not stream.eof:
            raise InvalidInputError(None, "the compressed body ends too early")
        parts.append(part)
        rest = stream.unused_data
        if not rest:
            return b"".join(parts)
        if not many:
            raise InvalidInputError(None, f"{len(rest)} bytes follow the compressed body")
