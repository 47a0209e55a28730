"""How often and when a request is tried again. Pure: causes in, pauses out; the clock stays with the caller.

A request may only be tried again while no byte of an answer has gone to the client. Two bounds are kept apart:

- Where a pool surely did no work (no connection, a 421, a gateway without a replica), trying again is harmless, and it
  is done over about two and a half seconds: a killed replica is back within one, a gateway says 502 for about two.
- Where a connection ended after the request was sent, the request may have been what ended the replica. It gets two
  more tries, so that one poisonous request cannot take replica after replica with it.

Above both stands the budget of the whole pool group (`router.budget`), but for the causes in `FREE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from botshard.sharding.ids import PoolName

__all__ = ["FREE", "Attempts", "Cause"]


class Cause(StrEnum):
    """Why a try did not end in an answer; also the label of the retry metric."""

    CONNECT = "connect"
    """No connection."""
    STALE = "stale"
    """A kept-alive connection had been closed by the pool before the request reached it."""
    LOST = "lost"
    """The connection ended after the request was sent, before an answer."""
    NO_REPLICA = "no_replica"
    MISDIRECTED = "misdirected"
    NOT_FOUND = "not_found"
    UNROUTED = "unrouted"
    OVERFLOW = "overflow"
    """A gateway has as many requests as it lets through."""
    FULL = "full"
    """The pool has as many requests as it takes."""


FREE: Final = frozenset({Cause.CONNECT, Cause.STALE, Cause.MISDIRECTED, Cause.NOT_FOUND, Cause.UNROUTED})
"""After these no replica has worked on the request, and none will work more for its being sent elsewhere: no connection
was made or it was dead, or the answer says that the request is not for whom it reached. Tries after all others are work
that is done again, or was refused for there being too much of it: they come out of the budget."""

_PAUSES_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 0.8)
_BOUNDS: Final[Mapping[Cause, int]] = {
    Cause.CONNECT: 7,
    Cause.NO_REPLICA: 7,
    Cause.STALE: 1,
    Cause.LOST: 2,
    Cause.MISDIRECTED: 1,
    Cause.NOT_FOUND: 1,
    Cause.UNROUTED: 2,
    Cause.OVERFLOW: 3,
    Cause.FULL: 2,
}
_FIRST_PAUSE_S: Final[Mapping[Cause, float]] = {
    Cause.NOT_FOUND: 0.25,  # the pool asks the store for a bot that it does not know at most this often
    Cause.OVERFLOW: 0.1,  # at once it would be as full
}
_ELSEWHERE: Final = frozenset({Cause.FULL})
"""The same pool is not asked again: its queue is longer than all who wait in it will see the end of."""


class Attempts:
    """The tries of one request."""

    __slots__ = ("_causes", "_failures", "failed_pools")

    def __init__(self) -> None:
        self._causes: dict[Cause, int] = {}
        self._failures = 0
        self.failed_pools: dict[PoolName, int] = {}
        """How often each pool has failed this request."""

    @property
    def needs_fresh_connection(self) -> bool:
        """Whether a kept-alive connection has let this request down: the others may be as dead."""
        return Cause.STALE in self._causes or Cause.LOST in self._causes

    def failed(self, pool: PoolName, /) -> None:
        """A pool has failed this request."""
        self.failed_pools[pool] = self.failed_pools.get(pool, 0) + 1

    def pause_after(self, pool: PoolName, cause: Cause, /, *, other_pools: int) -> float | None:
        """Seconds to wait before the next try; None: no more.

        Args:
            pool: the pool that failed.
            cause: how.
            other_pools: pools of the shard that have not failed this request yet; the first visit of each is at once.
        """
        seen = self._causes.get(cause, 0) + 1
        self._causes[cause] = seen
        self.failed(pool)
        if seen > _BOUNDS[cause] or self._failures >= len(_PAUSES_S) or (cause in _ELSEWHERE and not other_pools):
            return None
        pause_s = _PAUSES_S[self._failures]
        self._failures += 1
        if other_pools:
            return 0.0
        return max(pause_s, _FIRST_PAUSE_S.get(cause, 0.0))
