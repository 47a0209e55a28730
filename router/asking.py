"""One request's way to a pool: choose, ask, judge the answer, ask again while that is allowed.

A request to a known bot over a connection that is there goes out and comes back by plain calls. Where it has to wait
(for the store, a connection, a pause) a task waits for it, one at a time, and the way goes on when that has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final, cast

from botshard.oip.deadlines import for_next_hop
from botshard.sharding.routing import PoolRoute
from router.answers import TEXT_BYTES, Hop, Row, Verdict, needs_text, row_of
from router.attempts import FREE, Attempts, Cause
from router.client import Client
from router.cold import Turn
from router.errors import (
    ConnectError,
    LostError,
    OverloadedError,
    UnsettledError,
    UpstreamError,
)
from router.failures import failure_of, place_of, says_of_pool
from router.forwarding import Forwarding
from router.heads import AnswerHead, ForwardedHead, read_answer_head
from router.health import outcome_of
from router.hedging import Hedge
from router.pools import PoolState
from router.steps import Steps
from router.table import BotRoute
from router.targets import Target
from router.telemetry.traces import Trace
from router.uploading import Upload
from router.upstream import Asker, Connection

__all__ = ["Asking"]

_SERVER_ERRORS_FROM: Final = 500
_LOOK_FIRST: Final = (Cause.MISDIRECTED, Cause.UNROUTED)
"""The table may be behind: it is read before the next try."""


class Asking(Steps):
    """See the module. `start` once; `let_go` when the answer was taken; `stop` in any case."""

    __slots__ = (
        "_attempts",
        "_body",
        "_bot",
        "_client",
        "_has_replica",
        "_head",
        "_hedge",
        "_in_flight",
        "_is_answered",
        "_target",
        "_took_s",
        "_trace",
        "_tried_s",
        "_turn",
        "_upload",
        "_was_not_found",
        "_way",
        "chosen_s",
        "connection",
        "pool",
        "sent_s",
        "started_s",
        "tries",
    )

    def __init__(
        self,
        way: Forwarding,
        client: Client,
        *,
        target: Target,
        bot: BotRoute | None,
        head: ForwardedHead,
        body: bytes | memoryview | Upload,
        trace: Trace | None = None,
    ) -> None:
        """Nothing is asked before `start`.

        Args:
            way: to pools.
            client: for whom.
            target: what is asked.
            bot: None where it is not known here.
            head: of the request.
            body: of the request, or what sends it while it comes.
            trace: is told of tries; None: nobody is.
        """
        super().__init__(way.loop)
        self._way = way
        self._client = client
        self._target = target
        self._bot = bot
        self._head = head
        self._upload = body if isinstance(body, Upload) else None
        self._body = b"" if isinstance(body, Upload) else body
        self._attempts: Attempts | None = None
        self._trace = trace
        self.started_s = self.chosen_s = self.sent_s = 0.0
        """When it began, when a pool was chosen first, when the last try went out."""
        self.tries = 0
        """At pools, those that failed among them."""
        self._hedge: Hedge | None = None
        self._turn: Turn | None = None
        """Its place at a pool that may be at zero."""
        self._tried_s = 0.0
        """When the present try began."""
        self._took_s: float | None = None
        """From there to the head of its answer."""
        self._has_replica: bool | None = None
        """What the try says of its pool: see `router.pools.PoolState.ended`."""
        self._in_flight = False
        self._is_answered = False
        self._was_not_found = False
        self.pool: PoolState | None = None
        """That was asked last."""
        self.connection: Connection | None = None
        """The one that is in use."""

    # ── what the client calls ─────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Ask."""
        self.started_s = monotonic()
        try:
            self._go(self._bot)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self.fell(error)

    def go_on(self, pool: PoolState, connection: Connection, *, sent_s: float) -> None:
        """Somebody else has asked, and leaves it here: what comes of it is waited for."""
        self.pool, self.connection = pool, connection
        self.started_s = self.chosen_s = self.sent_s = self._tried_s = sent_s
        self.tries = 1
        self._in_flight = True
        connection.hand_over(self)

    def let_go(self) -> None:
        """The answer was taken, or nobody wants it: its connection is kept for another request if it can be."""
        pool, connection = self.pool, self.connection
        if self._turn is not None:
            turn, self._turn = self._turn, None
            turn.over()
        if pool is None or not self._in_flight:
            return
        self._in_flight = False
        if self._upload is not None:
            self._upload.stop()
        took_s = monotonic() - self._tried_s if self._took_s is None else self._took_s
        pool.ended(self._has_replica, took_s, self._way.loop.time())
        if connection is not None:
            self.connection = None
            pool.origin.release(connection)

    def stop(self) -> None:
        """Nobody waits any more."""
        self.end()
        if self._hedge is not None:
            self._hedge.stop()
            self._hedge = None  # which knows this asking: without the circle neither waits for the garbage collector
        self.let_go()
        self._body = b""

    # ── tries ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _go(self, bot: BotRoute | None) -> None:
        self._bot = bot
        if bot is None:
            self.wait(self._way.find(self._target.bot), self._found)
        elif routed := self._way.routes.pools(bot):
            self._try(routed)
        else:
            self.wait(self._way.placed(self._target.bot, bot), self._placed)

    def _found(self, bot: BotRoute) -> None:
        self._client.found(self._target.bot, bot)
        self._go(bot)

    def _placed(self, bot: BotRoute) -> None:
        self._bot = bot
        self._try(self._way.routes.pools(bot))

    def _try(self, routed: tuple[PoolRoute, ...]) -> None:
        attempts = self._attempts
        failed = {} if attempts is None else attempts.failed_pools
        pool, budget_s = self._way.choose(self._target.bot, routed, failed)
        self.pool = pool
        self._client.allow(budget_s)
        self.chosen_s = self.chosen_s or monotonic()
        turn = self._turn = pool.enter()
        if turn is None or turn.came is None:
            self._enter(pool)
        else:
            self.wait(turn.wait(), self._turned)

    def _turned(self, is_there: bool) -> None:  # noqa: FBT001 - what a task brings
        assert self.pool is not None  # noqa: S101 - it was waited for
        if is_there:
            self._enter(self.pool)
        else:
            self._go(self._bot)

    def _enter(self, pool: PoolState) -> None:
        attempts = self._attempts
        self.tries += 1
        if self._trace is not None:
            self._trace.try_begins(pool.route.name, pool.origin.address.authority)
        if attempts is None:
            pool.budget.asked()
        self._tried_s, self._took_s, self._has_replica = monotonic(), None, None
        pool.began()
        self._in_flight = True
        fresh = attempts is not None and attempts.needs_fresh_connection
        connection = None if fresh else pool.origin.idle()
        if connection is None:
            self.wait(pool.origin.acquire(fresh=fresh, within_s=self._client.left_s), self._ask)
        else:
            self._ask(connection)

    def _ask(self, connection: Connection) -> None:
        assert self.pool is not None  # noqa: S101 - chosen by `_try`
        self.connection = connection
        self.sent_s = monotonic()
        self.send(self.pool, connection, self)
        hedging = self._way.hedging
        if hedging is not None and self._attempts is None and self._upload is None and self._bot is not None:
            head = self._head
            self._hedge = hedging.beside(self, self._way, self.pool, self._bot, method=head.method, path=head.path)

    def send(self, pool: PoolState, connection: Connection, asker: Asker, /) -> None:
        """Send the request over a connection to a pool; `asker` is told what comes of it.

        Raises: LostError where the connection has ended meanwhile.
        """
        address = pool.origin.address
        head = self._head.to(
            address.authority,
            address.prefix,
            epoch=self._way.epoch,
            left_s=for_next_hop(self._client.left_s, address.hop_s),
        )
        if self._trace is not None:
            head = self._trace.head(head)
        head_only = self._head.method == b"HEAD"
        if self._upload is None:
            connection.begin(head, self._body, asker, head_only=head_only)
        else:
            self._upload.begin(connection, head, asker, head_only=head_only)

    def _again(self, cause: Cause, failure: UpstreamError) -> None:
        assert self.pool is not None  # noqa: S101 - it has failed
        assert self._bot is not None  # noqa: S101 - the pool is its own
        self.let_go()
        pool, route = self.pool, self.pool.route
        attempts = self._attempts = self._attempts or Attempts()
        hedge, self._hedge = self._hedge, None
        if hedge is not None and hedge.save():
            attempts.failed(route.name)
            return
        routed = self._way.routes.pools(self._bot)
        others = sum(1 for other in routed if other is not route and other.name not in attempts.failed_pools)
        pause_s = attempts.pause_after(route.name, cause, other_pools=others)
        if pause_s is None and cause is Cause.MISDIRECTED:
            self._client.failed(UnsettledError(f"{failure}, and so does the newest table", retry_after_s=1))
            return
        if pause_s is None or self._is_spent or pause_s >= self._client.left_s:
            self._client.failed(failure)
            return
        if cause not in FREE and not pool.budget.may_retry():
            pool.counts.refused_retry(cause)
            self._client.failed(failure)
            return
        pool.counts.retried(cause)
        if self._trace is not None:
            self._trace.try_ends(cause)
        if pause_s or cause in _LOOK_FIRST:
            waiting = self._way.before_next_try(cause, pause_s, self._target.bot, self._bot, failed=route)
            self.wait(waiting, self._go)
        else:
            self.step(self._go, self._bot)

    @property
    def _is_spent(self) -> bool:
        """Whether what was sent of its body is not here any more."""
        return self._upload is not None and not self._upload.can_begin

    # ── a second try beside the first: see `router.hedging.Hedged` ────────────────────────────────────────────────────

    @property
    def bot_id(self) -> str:
        """The bot that is asked."""
        return self._target.bot

    @property
    def is_waiting(self) -> bool:
        """Whether a try was sent, and nothing has come of it."""
        return self._task is None and self.connection is not None and not self._is_answered

    def take_over(self, pool: PoolState, connection: Connection, began_s: float, /) -> None:
        """The other try is the only one from here on."""
        self.let_go()
        self.pool, self.connection = pool, connection
        self._tried_s, self._took_s, self._has_replica = began_s, None, None
        self._in_flight = True

    # ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def came(self) -> None:
        """See `router.upstream.Asker`."""
        try:
            if self._is_answered:
                self._client.more()
            elif self._task is None and self.connection is not None:
                self._judge(self.connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self.fell(error)

    def _judge(self, connection: Connection) -> None:
        assert self.pool is not None  # noqa: S101 - it was asked
        status = connection.status
        if connection.error is not None and not connection.has_head:
            raise connection.error
        self._took_s = monotonic() - self._tried_s
        head = read_answer_head(connection.headers)
        text = b""
        if needs_text(status, head):
            text = connection.peek(TEXT_BYTES)
            if len(text) < TEXT_BYTES and not connection.finished and connection.error is None:
                return  # more of it will come
        elif connection.error is not None:
            raise connection.error
        row = row_of(status, head, text)
        verdict = row.verdict
        if status >= _SERVER_ERRORS_FROM or row.hop is not Hop.REPLICA:
            self.pool.counts.failed_at(row.hop, row.reason)
        self._has_replica = outcome_of(verdict, status)
        if self._has_replica:
            self.pool.shows_itself(self._way.loop.time())
        self._way.note_epoch(head)
        if verdict is Verdict.NOT_FOUND:
            if self._target.versioned or self._was_not_found or self._is_spent:
                verdict = Verdict.FORWARD if head.epoch else Verdict.WRAP
            else:
                # For being behind, or for good? The catalog as it is now decides.
                self._was_not_found = True
                self.wait(self._way.newest(self._target.bot), partial(self._doubted, head, connection, row))
                return
        if verdict is Verdict.FORWARD or verdict is Verdict.WRAP:
            self._answer(head, connection, wrap=verdict is Verdict.WRAP)
        else:
            self._again(Cause(verdict.value), failure_of(self.pool, status, row))

    def _doubted(self, head: AnswerHead, connection: Connection, row: Row, bot: BotRoute | None) -> None:
        assert self.pool is not None  # noqa: S101 - it was asked
        if bot is None:
            self._answer(head, connection, wrap=not head.epoch)
        else:
            self._bot = bot
            self._again(Cause.NOT_FOUND, failure_of(self.pool, connection.status, row))

    def _answer(self, head: AnswerHead, connection: Connection, *, wrap: bool) -> None:
        self._is_answered = True
        if self._hedge is not None:
            self._hedge.answered()
        self._client.answer(head, connection, wrap=wrap)

    # ── steps and waits ───────────────────────────────────────────────────────────────────────────────────────────────

    def too_late(self, then: Callable[[Any], None], result: object, /) -> None:
        """See `router.steps.Steps`: a connection is given back."""
        if then == self._ask and self.pool is not None:
            self.pool.origin.release(cast(Connection, result))

    def fell(self, error: Exception, /) -> None:
        """A try came to nothing, or the whole way."""
        if self.pool is not None and isinstance(error, UpstreamError | OverloadedError):
            self.pool.counts.failed_at(*place_of(self.pool, error))
        if self._has_replica is None:
            self._has_replica = says_of_pool(error)
        if isinstance(error, ConnectError):
            self._again(Cause.CONNECT, error)
        elif isinstance(error, LostError):
            self._again(Cause.STALE if error.stale else Cause.LOST, error)
        else:
            self.let_go()
            self._client.failed(error)
