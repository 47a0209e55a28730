"""What an error is to a client: the one table from errors to HTTP status, gRPC status and text."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Final

from botshard.logs import fields
from botshard.oip.errors import BodyTooLargeError, InvalidInputError, UnencodableOutputError
from botshard.rpc.codes import Code
from botshard.sharding.errors import TransientError
from botshard.store.base import StoreError
from kserve_runtimes.core.errors import (
    BotQueueFullError,
    DeadlineExceededError,
    LoadFailedError,
    MisdirectedError,
    ModelNotReadyError,
    NoRoomError,
    PoolNotReadyError,
    PredictFailedError,
    QueueFullError,
    SdkUnavailableError,
    TooLateError,
    UnknownBotError,
    UnknownVersionError,
)

__all__ = ["Problem", "problem_of"]

log = logging.getLogger(__name__)

_DEFAULT_RETRY_S: Final = 1.0

_TABLE: Final[tuple[tuple[type[Exception], int, Code], ...]] = (
    (UnknownBotError, 404, Code.NOT_FOUND),
    (UnknownVersionError, 404, Code.NOT_FOUND),
    (MisdirectedError, 421, Code.FAILED_PRECONDITION),
    (BodyTooLargeError, 413, Code.RESOURCE_EXHAUSTED),
    (InvalidInputError, 400, Code.INVALID_ARGUMENT),
    (DeadlineExceededError, 504, Code.DEADLINE_EXCEEDED),
    (TimeoutError, 504, Code.DEADLINE_EXCEEDED),
    (BotQueueFullError, 429, Code.RESOURCE_EXHAUSTED),
    (QueueFullError, 503, Code.UNAVAILABLE),
    (TooLateError, 503, Code.UNAVAILABLE),
    (LoadFailedError, 503, Code.UNAVAILABLE),
    (NoRoomError, 503, Code.UNAVAILABLE),
    (ModelNotReadyError, 503, Code.UNAVAILABLE),
    (PoolNotReadyError, 503, Code.UNAVAILABLE),
    (SdkUnavailableError, 503, Code.UNAVAILABLE),
    (StoreError, 503, Code.UNAVAILABLE),
    (PredictFailedError, 500, Code.INTERNAL),
    (UnencodableOutputError, 500, Code.INTERNAL),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as its client sees it."""

    status: int
    code: Code
    text: str
    retry_after_s: int | None = None
    """Whole seconds, at least 1; None: trying again does not help."""


def problem_of(error: Exception, /) -> Problem:
    """What to tell the client about `error`. A defect of ours is logged and told as such, without its insides."""
    for kind, status, code in _TABLE:
        if isinstance(error, kind):
            return Problem(status, code, str(error) or "the deadline is over", _retry_after_s(error, status))
    log.error("request failed by a defect", exc_info=error, extra=fields(kind=type(error).__name__))
    return Problem(500, Code.INTERNAL, f"internal error ({type(error).__name__}); the server's log has more")


def _retry_after_s(error: Exception, status: int) -> int | None:
    if status not in {429, 503}:
        return None
    hint_s = error.retry_after_s if isinstance(error, TransientError) else None
    return max(1, math.ceil(_DEFAULT_RETRY_S if hint_s is None else hint_s))
