"""A call's metadata as the header of a request, and an answer's header as the metadata that follows it. Pure.

gRPC lets more pass in metadata than HTTP/1.1 in a header, so all of it is checked on the way.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from botshard.oip import headers as names
from router.errors import BadRequestError
from router.upstream import Headers

__all__ = ["Trailing", "fields_of", "pushback", "trailing_of"]

Trailing: TypeAlias = tuple[tuple[str, str], ...]

_NAME: Final = re.compile(r"[a-z0-9_.-]{1,256}")
_NOT_FORWARDED: Final = frozenset(
    {
        "accept-encoding",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        names.INFERENCE_HEADER_LENGTH,
    }
)
"""What would speak of the body that is sent on, which is the message whatever the client says."""
_KEPT_BACK: Final = frozenset(
    {b"connection", b"content-encoding", b"content-length", b"content-type", b"date", b"keep-alive", b"server"}
    | {b"trailer", b"transfer-encoding", b"upgrade", b"vary"}
)
_RETRY_AFTER: Final = names.RETRY_AFTER.encode()


def fields_of(metadata: Any, /) -> Headers:
    """What a client says besides its message.

    Raises: BadRequestError for what cannot stand in a header.
    """
    found: Headers = []
    for name, value in metadata:
        if name in _NOT_FORWARDED or name.startswith("grpc-"):
            continue
        if not _NAME.fullmatch(name):
            raise BadRequestError("metadata has a name that is none of a header")
        if name.endswith("-bin"):
            found.append((name.encode(), b64encode(value).rstrip(b"=")))
        elif isinstance(value, str) and value.isascii() and (value.isprintable() or not value):
            found.append((name.encode(), value.encode()))
        else:
            raise BadRequestError(f"metadata {name[:64]!r} has a value that cannot stand in a header")
    return found


def trailing_of(headers: Iterable[tuple[bytes, bytes]], /) -> Trailing:
    """What an answer's head says besides its body, with gRPC's own form of when to come again."""
    found: list[tuple[str, str]] = []
    for name, value in headers:
        if name in _KEPT_BACK or name.startswith(b"grpc-") or name.endswith(b"-bin"):
            continue
        try:
            key, text = name.decode("ascii"), value.decode("ascii")
        except UnicodeDecodeError:
            continue
        if text.isprintable() and _NAME.fullmatch(key):
            found.append((key, text))
            if name == _RETRY_AFTER and value.isdigit():
                found.append(pushback(int(value)))
    return tuple(found)


def pushback(retry_after_s: float, /) -> tuple[str, str]:
    """When to come again, as gRPC's clients read it."""
    return names.PUSHBACK, str(round(retry_after_s * 1000))
