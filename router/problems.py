"""The one table from what went wrong to what a client is told: status, text, Retry-After."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson

from botshard.sharding.errors import ShardingError, TransientError
from router import errors

__all__ = ["Answer", "error_body", "problem_of", "with_error_body"]

_STATUSES: Final[Mapping[type[ShardingError], HTTPStatus]] = {
    errors.UnknownBotError: HTTPStatus.NOT_FOUND,
    errors.UnauthorizedError: HTTPStatus.UNAUTHORIZED,
    errors.ForbiddenError: HTTPStatus.FORBIDDEN,
    errors.BadRequestError: HTTPStatus.BAD_REQUEST,
    errors.WrongMethodError: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BodyTimeoutError: HTTPStatus.REQUEST_TIMEOUT,
    errors.NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NoPoolError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UnsettledError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.CatalogUnreadableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.DeadlineError: HTTPStatus.GATEWAY_TIMEOUT,
    errors.ConnectError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LostError: HTTPStatus.BAD_GATEWAY,
    errors.GatewayError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.InvalidAnswerError: HTTPStatus.BAD_GATEWAY,
    errors.CutError: HTTPStatus.BAD_GATEWAY,
}
_DEFAULT_RETRY_AFTER_S: Final = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the router's own."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def error_body(text: str, /) -> bytes:
    """The only form that an error has."""
    return orjson.dumps({"error": text})


def with_error_body(status: int, text: str, *more: tuple[bytes, bytes]) -> Answer:
    """An error answer with this text."""
    body = error_body(text)
    length = (b"content-length", b"%d" % len(body))
    return Answer(status, [(b"content-type", b"application/json"), length, *more], body)


def problem_of(error: ShardingError, /) -> Answer:
    """What a client is told of `error`."""
    status = _STATUSES.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    more: list[tuple[bytes, bytes]] = []
    match error:
        case errors.WrongMethodError(allowed=allowed):
            more.append((b"allow", ", ".join(allowed).encode()))
        case errors.UnauthorizedError():
            more.append((b"www-authenticate", b'Bearer realm="botshard"'))
        case errors.LimitedError(retry_after_s=wait_s):
            # Rounded up: who comes back when it says so is let in.
            more.append((b"retry-after", b"%d" % max(1, math.ceil(wait_s or 0.0))))
        case TransientError() if status == HTTPStatus.SERVICE_UNAVAILABLE:
            hint_s = error.retry_after_s or _DEFAULT_RETRY_AFTER_S
            more.append((b"retry-after", b"%d" % max(1, round(hint_s))))
    return with_error_body(status, str(error), *more)
