"""Statuses of HTTP as codes of gRPC and back. Pure.

Requests of both are counted, retried and told by the same tables, which speak of HTTP's statuses: the two are equal
where both are ours, and near where something between answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from botshard.rpc.codes import Code

__all__ = ["code_of", "status_of"]

_CODES: Final[Mapping[int, Code]] = {
    200: Code.OK,
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,
    413: Code.RESOURCE_EXHAUSTED,
    421: Code.FAILED_PRECONDITION,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
_STATUSES: Final[Mapping[Code, int]] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 421,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
_SERVER_ERRORS: Final = 500


def code_of(status: int, /) -> Code:
    """What a client of gRPC is told of an answer over HTTP."""
    found = _CODES.get(status)
    if found is not None:
        return found
    return Code.INTERNAL if status >= _SERVER_ERRORS else Code.UNKNOWN


def status_of(code: int, /) -> int:
    """What is counted, and judged, of an answer over gRPC."""
    try:
        return _STATUSES[Code(code)]
    except ValueError:
        return _SERVER_ERRORS
