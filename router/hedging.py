"""Hedged requests: where a realtime bot takes longer than it nearly always does, another pool is asked besides.

The first answer wins, the other try is cancelled. A second try is made once the first has taken as long as 95 of 100
answers of that bot, out of a budget of its own (`router.budget`), for inference alone, which may be asked twice without
harm, and for bodies that are here as a whole. Off unless `ROUTER_HEDGE` says otherwise.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from botshard.sharding.routing import PoolRoute
from router.answers import Verdict, judge
from router.errors import UpstreamError
from router.failures import says_of_pool
from router.heads import read_answer_head
from router.health import outcome_of
from router.latencies import Latencies
from router.table import BotRoute
from router.upstream import Asker, Connection

if TYPE_CHECKING:
    from router.forwarding import Forwarding
    from router.pools import PoolState

__all__ = ["Hedge", "Hedged", "Hedging"]

_SHARE: Final = 0.95
_FAILURES_FROM: Final = 500
_INFERENCE: Final = (b"/infer", b":predict")


class Hedging:
    """Which requests get a second try, and when."""

    __slots__ = ("_latencies",)

    def __init__(self) -> None:
        self._latencies = Latencies(_SHARE)

    def beside(
        self, hedged: Hedged, way: Forwarding, first: PoolState, bot: BotRoute, /, *, method: bytes, path: bytes
    ) -> Hedge | None:
        """A hedge for a request that was just sent to its first pool; None: it gets none."""
        if method != b"POST" or not path.partition(b"?")[0].endswith(_INFERENCE):
            return None
        if not way.hedges(first.route.group):
            return None
        hedge = Hedge(hedged, way, first, self._latencies, bot)
        delay_s = self._latencies.quantile_s(bot, first.route.family)
        if delay_s is not None and len(way.routes.pools(bot)) > 1:
            hedge.arm(delay_s)
        return hedge


class Hedged(Protocol):
    """A request that may get a second try."""

    @property
    def bot_id(self) -> str:
        """The bot that is asked."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether its first try was sent, and nothing has come of it."""
        ...

    def send(self, pool: PoolState, connection: Connection, asker: Asker, /) -> None:
        """Send it over a connection to a pool."""

    def take_over(self, pool: PoolState, connection: Connection, began_s: float, /) -> None:
        """This try, which began then, is the request's only one from here on; what it had before is cancelled."""

    def came(self) -> None:
        """See `router.upstream.Asker`."""


class Hedge:
    """The second try of one request, from before it is made."""

    __slots__ = (
        "_began_s",
        "_bot",
        "_connection",
        "_first",
        "_hedged",
        "_is_handed_over",
        "_latencies",
        "_pool",
        "_sent_s",
        "_task",
        "_timer",
        "_way",
    )

    def __init__(self, hedged: Hedged, way: Forwarding, first: PoolState, latencies: Latencies, bot: BotRoute) -> None:
        self._hedged = hedged
        self._way = way
        self._first = first
        self._latencies = latencies
        self._bot = bot
        self._sent_s = monotonic()
        self._began_s = self._sent_s
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Connection] | None = None
        self._pool: PoolState | None = None
        """There while the second try is under way, and nobody else's."""
        self._connection: Connection | None = None
        self._is_handed_over = False

    def arm(self, delay_s: float, /) -> None:
        """Ask another pool in `delay_s`, unless there is an answer by then."""
        self._timer = self._way.loop.call_later(delay_s, self._due)

    # ── what the request calls ────────────────────────────────────────────────────────────────────────────────────────

    def answered(self) -> None:
        """An answer is here."""
        self._latencies.learn(self._bot, self._first.route.family, monotonic() - self._sent_s)
        self.stop()

    def save(self) -> bool:
        """The first try has failed: whether the second is under way, which is the only one then."""
        pool, connection = self._pool, self._connection
        if pool is None or connection is None:
            self.stop()
            return False
        self._hand_over(pool, connection)
        return True

    def stop(self) -> None:
        """No second try is wanted; one that is under way is cancelled."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._drop(None)

    def _drop(self, answered: bool | None) -> None:  # noqa: FBT001 - see `router.pools.PoolState.ended`
        pool, connection = self._pool, self._connection
        if pool is not None:
            self._pool = self._connection = None
            pool.counts.hedged("lost")
            pool.ended(answered, monotonic() - self._began_s, self._way.loop.time())
            if connection is not None:
                pool.origin.release(connection)

    # ── the second try ────────────────────────────────────────────────────────────────────────────────────────────────

    def _due(self) -> None:
        self._timer = None
        if not self._hedged.is_waiting:
            return
        pool = self._other(self._way.routes.pools(self._bot))
        if pool is None:
            return
        if not pool.budget.may_hedge():
            pool.counts.hedged("refused")
            return
        self._pool = pool
        self._began_s = monotonic()
        pool.began()
        connection = pool.origin.idle()
        if connection is not None:
            self._ask(connection)
            return
        self._task = task = self._way.loop.create_task(pool.origin.acquire())
        task.add_done_callback(partial(self._acquired, pool))

    def _other(self, routed: tuple[PoolRoute, ...]) -> PoolState | None:
        first = self._first.route
        if len(routed) < 2:
            return None
        pool, _ = self._way.choose(self._hedged.bot_id, routed, {first.name: 1})
        return None if pool.route.name == first.name else pool

    def _acquired(self, pool: PoolState, task: asyncio.Task[Connection]) -> None:
        is_wanted, self._task = self._task is task, None
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self._drop(says_of_pool(error) if is_wanted else None)
        elif is_wanted:
            self._ask(task.result())
        else:
            pool.origin.release(task.result())  # it came too late

    def _ask(self, connection: Connection) -> None:
        assert self._pool is not None  # noqa: S101 - chosen by `_due`
        self._connection = connection
        try:
            self._hedged.send(self._pool, connection, self)
        except UpstreamError:
            self.stop()

    def came(self) -> None:
        """See `router.upstream.Asker`."""
        if self._is_handed_over:
            self._hedged.came()
            return
        pool, connection = self._pool, self._connection
        if pool is None or connection is None:
            return
        if connection.error is not None:
            self._drop(says_of_pool(connection.error))  # the first try is still waited for
            return
        verdict = judge(connection.status, read_answer_head(connection.headers))
        if verdict is not Verdict.FORWARD or connection.status >= _FAILURES_FROM or not self._hedged.is_waiting:
            self._drop(outcome_of(verdict, connection.status))
            return
        self._hand_over(pool, connection)
        self._hedged.came()

    def _hand_over(self, pool: PoolState, connection: Connection) -> None:
        self._pool = self._connection = None
        self._is_handed_over = True
        pool.counts.hedged("won")
        self._hedged.take_over(pool, connection, self._began_s)
