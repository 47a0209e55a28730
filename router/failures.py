"""Tries that came to nothing: at which hop, and in which words."""

from __future__ import annotations

from router.answers import Hop, Row, Verdict
from router.errors import ConnectError, CutError, GatewayError, InvalidAnswerError, LostError, OverloadedError
from router.pools import PoolState

__all__ = ["failure_of", "place_of", "says_of_pool"]


def says_of_pool(error: BaseException | None, /) -> bool | None:
    """What a try that ended so says of its pool: False, no replica is there; None, nothing.

    What had been closed before the request came says nothing: the next connection will.
    """
    if isinstance(error, LostError):
        return None if error.stale else False
    return False if isinstance(error, ConnectError | InvalidAnswerError) else None


def place_of(pool: PoolState, error: Exception, /) -> tuple[Hop, str]:
    """Where a try ended without an answer, and how."""
    match error:
        case OverloadedError():
            return Hop.ROUTER, "no_turn"
        case ConnectError():
            reason = "no_connection"
        case LostError(stale=True):
            reason = "stale"
        case LostError():
            reason = "lost"
        case CutError():
            reason = "cut"
        case _:
            reason = "invalid_answer"
    return Hop.GATEWAY if pool.origin.address.is_gateway else Hop.REPLICA, reason


def failure_of(pool: PoolState, status: int, row: Row, /) -> GatewayError:
    """What a client is told of an answer that is none."""
    name = pool.route.name
    who = "" if row.hop is Hop.REPLICA else f", says the {row.hop.replace('_', '-')} ({row.reason})"
    match row.verdict:
        case Verdict.MISDIRECTED:
            return GatewayError(f"pool {name} says that the bot is not its own ({status})")
        case Verdict.NOT_FOUND | Verdict.UNROUTED:
            return GatewayError(
                f"pool {name} cannot be reached at its address or does not know the bot ({status}){who}"
            )
        case Verdict.OVERFLOW:
            return GatewayError(f"the gateway before pool {name} lets no more requests through ({status})")
        case Verdict.FULL:
            return GatewayError(f"pool {name} takes no more requests now ({status}){who}", retry_after_s=1)
        case _:
            return GatewayError(f"no replica of pool {name} answers ({status}){who}", retry_after_s=1)
