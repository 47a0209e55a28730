"""What a pool's answer means for the request, told from its status and where it came from. Pure.

Between router and replica there may be a gateway, Knative's activator and its queue-proxy, each with answers of its
own. A replica of ours always says its epoch; what lacks it and is an error came from something in front of it.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus

from router.heads import AnswerHead

__all__ = ["Verdict", "judge"]

_ERRORS_FROM = 400


class Verdict(StrEnum):
    """What to do with an answer."""

    FORWARD = "forward"
    """It is the answer to the client."""
    MISDIRECTED = "misdirected"
    """The pool says that the bot is not its own: read the table again, choose again."""
    NOT_FOUND = "not_found"
    """The pool does not know the bot, which the catalog here says is live: one of the two is behind."""
    UNROUTED = "unrouted"
    """The gateway does not know the pool's host: the table here is behind, or the pool is going."""
    NO_REPLICA = "no_replica"
    """Something in front of the pool found no replica that answers: try again."""
    WRAP = "wrap"
    """It is the answer, but not in the protocol's form of an error."""


def judge(status: int, head: AnswerHead, /) -> Verdict:
    """What an answer with this status and head means."""
    if status < _ERRORS_FROM:
        return Verdict.FORWARD
    is_pool = bool(head.epoch)
    is_json = head.content_type.startswith(b"application/json")
    match status:
        case HTTPStatus.MISDIRECTED_REQUEST:
            return Verdict.MISDIRECTED
        case HTTPStatus.NOT_FOUND:
            # A gateway's 404 is empty or HTML; a model server's is `{"error": …}`.
            return Verdict.NOT_FOUND if is_pool or is_json else Verdict.UNROUTED
        case HTTPStatus.BAD_GATEWAY:
            return Verdict.FORWARD if is_pool else Verdict.NO_REPLICA
        case HTTPStatus.SERVICE_UNAVAILABLE:
            if not is_pool and not head.retry_after and not is_json:
                return Verdict.NO_REPLICA
    return Verdict.FORWARD if is_pool else Verdict.WRAP
