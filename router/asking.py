"""One request's way to a pool: choose, ask, judge the answer, ask again while that is allowed.

A request to a known bot over a connection that is there goes out and comes back by plain calls. Where it has to wait
(for the store, a connection, a pause) a task waits for it, one at a time, and the way goes on when that has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from botshard.sharding.routing import PoolRoute
from router.answers import Verdict, judge
from router.attempts import Attempts, Cause
from router.errors import ConnectError, GatewayError, LostError, NotReadyError, UnsettledError, UpstreamError
from router.forwarding import Forwarding
from router.heads import AnswerHead, ForwardedHead, read_answer_head
from router.pools import PoolState
from router.table import BotRoute
from router.targets import Target
from router.upstream import Connection

__all__ = ["Asking", "Client"]

_T = TypeVar("_T")

_LOOK_FIRST: Final = (Cause.MISDIRECTED, Cause.UNROUTED)
"""The table may be behind: it is read before the next try."""


class Client(Protocol):
    """For whom a pool is asked."""

    @property
    def left_s(self) -> float:
        """Seconds until its deadline."""
        ...

    def allow(self, budget_s: float, /) -> None:
        """What it may take since its beginning; only ever more: a warm pool does not take away what a cold one gave."""

    def answer(self, head: AnswerHead, connection: Connection, /, *, wrap: bool) -> None:
        """The answer's head is here; `wrap`: it is an error that is not in the protocol's form."""

    def more(self) -> None:
        """More of the answer has come, or its end, or why there is none; `connection` of the asking knows."""

    def failed(self, error: Exception, /) -> None:
        """There is no answer."""


class Asking:
    """See the module. `start` once; `let_go` when the answer was taken; `stop` in any case."""

    __slots__ = (
        "_attempts",
        "_body",
        "_bot",
        "_client",
        "_head",
        "_head_only",
        "_in_flight",
        "_is_answered",
        "_is_over",
        "_target",
        "_task",
        "_was_not_found",
        "_way",
        "connection",
        "pool",
    )

    def __init__(
        self,
        way: Forwarding,
        client: Client,
        *,
        target: Target,
        bot: BotRoute | None,
        head: ForwardedHead,
        body: bytes | memoryview,
    ) -> None:
        """`bot` is None where it is not known here."""
        self._way = way
        self._client = client
        self._target = target
        self._bot = bot
        self._head = head
        self._body = body
        self._attempts: Attempts | None = None
        self._task: asyncio.Task[Any] | None = None
        self._in_flight = False
        self._is_answered = False
        self._is_over = False
        self._was_not_found = False
        self.pool: PoolState | None = None
        """That was asked last."""
        self.connection: Connection | None = None
        """The one that is in use."""

    # ── what the client calls ─────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Ask."""
        try:
            self._go(self._bot)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._fell(error)

    def go_on(self, pool: PoolState, connection: Connection) -> None:
        """Somebody else has asked, and leaves it here: what comes of it is waited for."""
        self.pool, self.connection = pool, connection
        self._in_flight = True
        connection.hand_over(self)

    def let_go(self) -> None:
        """The answer was taken, or nobody wants it: its connection is kept for another request if it can be."""
        pool, connection = self.pool, self.connection
        if pool is None or not self._in_flight:
            return
        self._in_flight = False
        pool.outstanding -= 1
        if connection is not None:
            self.connection = None
            pool.origin.release(connection)

    def stop(self) -> None:
        """Nobody waits any more."""
        self._is_over = True
        self._body = b""
        if self._task is not None:
            self._task.cancel()
        if self._in_flight:
            self.let_go()

    # ── tries ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _go(self, bot: BotRoute | None) -> None:
        self._bot = bot
        if bot is None:
            self._wait(self._way.find(self._target.bot), self._go)
        elif routed := self._way.routes.pools(bot):
            self._try(routed)
        else:
            self._wait(self._way.placed(self._target.bot, bot), self._placed)

    def _placed(self, bot: BotRoute) -> None:
        self._bot = bot
        self._try(self._way.routes.pools(bot))

    def _try(self, routed: tuple[PoolRoute, ...]) -> None:
        attempts = self._attempts
        failed = {} if attempts is None else attempts.failed_pools
        pool, budget_s = self._way.choose(self._target.bot, routed, failed)
        self.pool = pool
        self._client.allow(budget_s)
        pool.outstanding += 1
        self._in_flight = True
        fresh = attempts is not None and attempts.needs_fresh_connection
        connection = None if fresh else pool.origin.idle()
        if connection is None:
            self._wait(pool.origin.acquire(fresh=fresh), self._ask)
        else:
            self._ask(connection)

    def _ask(self, connection: Connection) -> None:
        assert self.pool is not None  # noqa: S101 - chosen by `_try`
        self.connection = connection
        address = self.pool.origin.address
        head = self._head.to(address.authority, address.prefix, epoch=self._way.epoch, left_s=self._client.left_s)
        connection.begin(head, self._body, self, head_only=self._head.method == b"HEAD")

    def _again(self, cause: Cause, failure: UpstreamError) -> None:
        assert self.pool is not None  # noqa: S101 - it has failed
        assert self._bot is not None  # noqa: S101 - the pool is its own
        self.let_go()
        attempts = self._attempts = self._attempts or Attempts()
        route = self.pool.route
        routed = self._way.routes.pools(self._bot)
        others = sum(1 for other in routed if other is not route and other.name not in attempts.failed_pools)
        pause_s = attempts.pause_after(route.name, cause, other_pools=others)
        if pause_s is None:
            if cause is Cause.MISDIRECTED:
                self._client.failed(UnsettledError(f"{failure}, and so does the newest table", retry_after_s=1))
            else:
                self._client.failed(failure)
            return
        self.pool.counts.retried(cause)
        if pause_s or cause in _LOOK_FIRST:
            waiting = self._way.before_next_try(cause, pause_s, self._target.bot, self._bot, failed=route)
            self._wait(waiting, self._go)
        else:
            self._step(self._go, self._bot)

    # ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def came(self) -> None:
        """See `router.upstream.Asker`."""
        try:
            if self._is_answered:
                self._client.more()
            elif self._task is None and self.connection is not None:
                self._judge(self.connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._fell(error)

    def _judge(self, connection: Connection) -> None:
        assert self.pool is not None  # noqa: S101 - it was asked
        if connection.error is not None:
            raise connection.error
        self.pool.answered_s = self._way.loop.time()
        head = read_answer_head(connection.headers)
        verdict = judge(connection.status, head)
        self._way.note_epoch(head)
        if verdict is Verdict.NOT_FOUND:
            if self._target.versioned or self._was_not_found:
                verdict = Verdict.FORWARD if head.epoch else Verdict.WRAP
            else:
                # For being behind, or for good? The catalog as it is now decides.
                self._was_not_found = True
                self._wait(self._way.newest(self._target.bot), partial(self._doubted, head, connection))
                return
        if verdict is Verdict.FORWARD or verdict is Verdict.WRAP:
            self._answer(head, connection, wrap=verdict is Verdict.WRAP)
        else:
            self._again(Cause(verdict.value), _failure(self.pool, connection.status))

    def _doubted(self, head: AnswerHead, connection: Connection, bot: BotRoute | None) -> None:
        assert self.pool is not None  # noqa: S101 - it was asked
        if bot is None:
            self._answer(head, connection, wrap=not head.epoch)
        else:
            self._bot = bot
            self._again(Cause.NOT_FOUND, _failure(self.pool, connection.status))

    def _answer(self, head: AnswerHead, connection: Connection, *, wrap: bool) -> None:
        self._is_answered = True
        self._client.answer(head, connection, wrap=wrap)

    # ── steps and waits ───────────────────────────────────────────────────────────────────────────────────────────────

    def _wait(self, waiting: Coroutine[Any, Any, _T], then: Callable[[_T], None]) -> None:
        self._task = task = self._way.loop.create_task(waiting)
        task.add_done_callback(partial(self._waited, then))

    def _waited(self, then: Callable[[_T], None], task: asyncio.Task[_T]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if self._is_over:
            if then == self._ask and error is None and not task.cancelled() and self.pool is not None:
                self.pool.origin.release(task.result())  # type: ignore[arg-type]  # the connection came too late
        elif task.cancelled():
            self._fell(NotReadyError("the router is stopping", retry_after_s=1))
        elif isinstance(error, Exception):
            self._fell(error)
        else:
            self._step(then, task.result())

    def _step(self, step: Callable[[_T], None], value: _T) -> None:
        try:
            step(value)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._fell(error)

    def _fell(self, error: Exception) -> None:
        """A try came to nothing, or the whole way."""
        if isinstance(error, ConnectError):
            self._again(Cause.CONNECT, error)
        elif isinstance(error, LostError):
            self._again(Cause.STALE if error.stale else Cause.LOST, error)
        else:
            self.let_go()
            self._client.failed(error)


def _failure(pool: PoolState, status: int) -> GatewayError:
    name = pool.route.name
    match status:
        case 421:
            return GatewayError(f"pool {name} says that the bot is not its own (421)")
        case 404:
            return GatewayError(f"pool {name} cannot be reached at its address or does not know the bot (404)")
        case _:
            return GatewayError(f"no replica of pool {name} answers ({status})", retry_after_s=1)
