"""One request's way to a pool: choose, try, judge the answer, try again while that is allowed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from botshard.sharding.ids import BotId
from botshard.sharding.routing import GroupRoute, PoolRoute
from router.answers import Verdict, judge
from router.attempts import Attempts, Cause
from router.errors import (
    CatalogUnreadableError,
    ConnectError,
    GatewayError,
    LostError,
    NoPoolError,
    NotReadyError,
    UnknownBotError,
    UnsettledError,
    UpstreamError,
)
from router.following import Following
from router.heads import AnswerHead, ForwardedHead, read_answer_head
from router.metrics import RouterCounts
from router.patience import Patience
from router.pools import Pools, PoolState
from router.select import policy_of, untried_first
from router.table import BotRoute, Routes
from router.targets import Target
from router.upstream import Connection

__all__ = ["Forwarding", "PoolAnswer", "Request"]

_FINAL: Final = (Verdict.FORWARD, Verdict.WRAP)
_MAYBE_COLD_AFTER_S: Final = 5.0
"""A non-realtime pool that has not answered for so long may be at zero: its start is waited for."""
_PLACING_S: Final = 3.0
"""A controller sees a new bot within half a second, and a pool has an address a moment later. A bot that cannot be
placed costs its callers this wait before they are told so."""


@dataclass(slots=True)
class Request:
    """A client's request, ready to be sent as often as needed."""

    target: Target
    bot: BotRoute
    head: ForwardedHead
    body: bytes
    head_only: bool
    client_timeout_s: float | None
    pool: PoolState | None = None
    """The pool that was tried last."""
    was_not_found: bool = False
    """Whether a pool has answered 404 already."""


@dataclass(slots=True)
class PoolAnswer:
    """An answer whose head has come; its body is still to be taken from the connection."""

    pool: PoolState
    connection: Connection
    status: int
    head: AnswerHead
    wrap: bool
    """Whether it is an error that is not in the protocol's form."""


class Forwarding:
    """Sends requests to pools."""

    def __init__(self, routes: Routes, pools: Pools, following: Following, counts: RouterCounts) -> None:
        self._routes = routes
        self._pools = pools
        self._following = following
        self._counts = counts
        self._loop = asyncio.get_running_loop()

    async def find(self, target: Target, /) -> BotRoute:
        """The bot's route.

        Raises: UnknownBotError, NotReadyError, CatalogUnreadableError.
        """
        bot = self._routes.find(target.bot)
        if bot is None:
            if not self._routes.ready:
                raise NotReadyError("the router has not read a routing table and a catalog yet", retry_after_s=1)
            bot = await self._following.look_up(BotId(target.bot))
            if bot is None:
                raise UnknownBotError(f"bot {target.bot[:128]!r} does not exist")
        return bot

    def group_of(self, bot: BotRoute, /) -> GroupRoute | None:
        """The pool group of a bot, as the table has it."""
        table = self._routes.table
        family = None if table is None else table.families.get(self._routes.served.of(bot).family)
        return None if table is None or family is None else table.groups[family.key.group]

    async def send(self, request: Request, patience: Patience) -> PoolAnswer:
        """The head of the answer that goes to the client.

        Raises: NoPoolError, UnsettledError, UpstreamError, OverloadedError.
        """
        attempts = Attempts()
        while True:
            routed = await self._pools_of(request)
            cause: Cause
            failure: UpstreamError
            pool = request.pool = self._choose(request, routed, attempts, patience)
            try:
                answer = await self._try(request, pool, patience, fresh=attempts.needs_fresh_connection)
            except ConnectError as error:
                cause, failure = Cause.CONNECT, error
            except LostError as error:
                cause, failure = Cause.STALE if error.stale else Cause.LOST, error
            else:
                verdict = await self._judge(request, answer)
                if verdict in _FINAL:
                    answer.wrap = verdict is Verdict.WRAP
                    return answer
                cause, failure = Cause(verdict.value), _failure(answer)
            others = sum(1 for route in routed if route is not pool.route and route.name not in attempts.failed_pools)
            pause_s = attempts.pause_after(pool.route.name, cause, other_pools=others)
            if pause_s is None:
                if cause is Cause.MISDIRECTED:
                    raise UnsettledError(f"{failure}, and so does the newest table", retry_after_s=1) from failure
                raise failure
            pool.counts.retried(cause)
            await self._before_next_try(cause, pause_s, request, pool.route)

    async def _pools_of(self, request: Request) -> tuple[PoolRoute, ...]:
        """The bot's pools. One that was just published, or went to another family, gets a moment to be placed."""
        routed = self._routes.pools(request.bot)
        until_s = self._loop.time() + _PLACING_S
        while not routed and (left_s := until_s - self._loop.time()) > 0:
            await self._following.next_table(left_s)
            request.bot = self._known(request)
            routed = self._routes.pools(request.bot)
        return routed

    def finish(self, answer: PoolAnswer, /) -> None:
        """The answer was taken, or nobody wants it: its connection is kept for another request if it can be."""
        answer.pool.outstanding -= 1
        answer.pool.origin.release(answer.connection)

    async def _try(self, request: Request, pool: PoolState, patience: Patience, *, fresh: bool) -> PoolAnswer:
        origin = pool.origin
        pool.outstanding += 1
        connection: Connection | None = None
        done = False
        try:
            connection = None if fresh else origin.idle()
            if connection is None:
                connection = await origin.acquire(fresh=fresh)
            table = self._routes.table
            address = origin.address
            head = request.head.to(
                address.authority,
                address.prefix,
                epoch=0 if table is None else table.epoch,
                left_s=patience.left_s,
            )
            connection.begin(head, request.body, head_only=request.head_only)
            status = await connection.head()
            pool.answered_s = self._loop.time()
            done = True
        finally:
            if not done:
                pool.outstanding -= 1
                if connection is not None:
                    origin.release(connection)
        return PoolAnswer(pool, connection, status, read_answer_head(connection.headers), wrap=False)

    def _choose(
        self, request: Request, routed: tuple[PoolRoute, ...], attempts: Attempts, patience: Patience
    ) -> PoolState:
        table = self._routes.table
        if table is None or not routed:
            raise NoPoolError(f"bot {request.target.bot!r} has no pool yet", retry_after_s=1)
        group = table.groups[routed[0].group]
        order = policy_of(group)(routed, self._pools.outstanding)
        pool = self._pools[untried_first(order, attempts.failed_pools)[0].name]
        self._allow_time(request, pool, group, patience)
        return pool

    async def _judge(self, request: Request, answer: PoolAnswer) -> Verdict:
        """What the answer means; one that does not go to the client is finished."""
        verdict = Verdict.FORWARD
        try:
            verdict = judge(answer.status, answer.head)
            self._note_epoch(answer.head)
            if verdict is Verdict.NOT_FOUND and not await self._is_worth_another(request):
                verdict = Verdict.FORWARD if answer.head.epoch else Verdict.WRAP
            return verdict
        except BaseException:
            verdict = Verdict.NO_REPLICA
            raise
        finally:
            if verdict not in _FINAL:
                self.finish(answer)

    def _allow_time(self, request: Request, pool: PoolState, group: GroupRoute, patience: Patience) -> None:
        budget_s = group.request_timeout_s
        if not group.realtime and self._loop.time() - pool.answered_s > _MAYBE_COLD_AFTER_S:
            budget_s += group.cold_start_timeout_s
        if request.client_timeout_s is not None:
            budget_s = min(budget_s, request.client_timeout_s)
        # Only ever longer: a try at a warm pool must not take away what a cold one was given.
        if patience.started_s + budget_s > patience.deadline_s or not patience.is_set:
            patience.set_budget(budget_s)

    def _note_epoch(self, head: AnswerHead) -> None:
        """A pool that has a newer table than this router tells so by every answer."""
        table = self._routes.table
        if head.epoch and table is not None and head.epoch.isdigit() and int(head.epoch) > table.epoch:
            self._following.refresh_table_soon()

    async def _is_worth_another(self, request: Request) -> bool:
        """Whether a pool's first 404 can be for being behind: the bot is live in the catalog as it is now."""
        if request.target.versioned or request.was_not_found:
            return False
        request.was_not_found = True
        try:
            bot = await self._following.look_up(BotId(request.target.bot))
        except CatalogUnreadableError:
            return False
        if bot is None:
            return False
        request.bot = bot
        return True

    async def _look_again(self, request: Request) -> None:
        """The bot as the catalog has it now: it may have gone to another family, and its old pool knew that first."""
        try:
            bot = await self._following.look_up(BotId(request.target.bot))
        except CatalogUnreadableError:
            bot = None
        request.bot = self._known(request) if bot is None else bot

    def _known(self, request: Request) -> BotRoute:
        """The bot's route as it is now; the request's own where the bot is gone meanwhile."""
        route = self._routes.find(request.target.bot)
        return request.bot if route is None else route

    async def _before_next_try(self, cause: Cause, pause_s: float, request: Request, pool: PoolRoute) -> None:
        if cause is Cause.MISDIRECTED:
            self._counts.misdirected += 1
            await self._following.refresh_table()
            await self._look_again(request)
            if pool not in self._routes.pools(request.bot):
                return  # the table has moved on, and so does the request
            pause_s = max(pause_s, 0.1)
        elif cause is Cause.UNROUTED:
            await self._following.refresh_table()
        if pause_s:
            await asyncio.sleep(pause_s)


def _failure(answer: PoolAnswer) -> UpstreamError:
    pool, status = answer.pool.route.name, answer.status
    match status:
        case 421:
            return GatewayError(f"pool {pool} says that the bot is not its own (421)")
        case 404:
            return GatewayError(f"pool {pool} cannot be reached at its address or does not know the bot (404)")
        case _:
            return GatewayError(f"no replica of pool {pool} answers ({status})", retry_after_s=1)
