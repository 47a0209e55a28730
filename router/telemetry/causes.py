"""Why a request failed, as one word: the label of metrics, a field of the log, `error.type` of a span."""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from botshard.sharding.errors import ShardingError

__all__ = ["INTERNAL", "cause_of", "cause_of_refusal"]

INTERNAL: Final = "internal"
"""A defect of the router."""
_REFUSALS: Final = {
    HTTPStatus.REQUEST_TIMEOUT: "slow_request",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body_too_large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "head_too_large",
}


def cause_of(error: BaseException, /) -> str:
    """The word for an error: of `DeadlineError` it is `deadline`. There are as many as classes of errors."""
    return _word(type(error).__name__) if isinstance(error, ShardingError) else INTERNAL


@lru_cache(256)
def _word(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("Error")).lower()


def cause_of_refusal(status: int, /) -> str:
    """The word for what is no request by HTTP's own rules."""
    return _REFUSALS.get(HTTPStatus(status), "malformed")
