"""A client's request to a bot, from its head to the last byte of its answer.

Bodies go through as bytes, both ways; how a request's is held is said in `router.body`.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from botshard.http1.answers import CONTINUE, Answer, line
from botshard.http1.framing import Framing
from botshard.oip.trace_context import TRACEPARENT
from botshard.sharding.errors import ShardingError, TerminalError
from router.access.principal import Lease
from router.asking import Asking
from router.body import RequestBody
from router.errors import BodyTimeoutError, ClientGoneError, DeadlineError, NotReadyError, OverloadedError
from router.foreign import MAX_FOREIGN_BYTES, foreign_answer
from router.heads import (
    POOL,
    REQUEST_ID,
    AnswerHead,
    ForwardedHead,
    RequestHead,
    framing_of,
    read_request_head,
)
from router.pools import PoolState
from router.table import BotRoute
from router.targets import Target
from router.telemetry.ledger import ColdStart, Marks, tell_cold_start
from router.telemetry.telemetry import Look
from router.upstream import Connection

if TYPE_CHECKING:
    from router.front import Front

__all__ = ["BotRequest"]

_FIRST_BUDGET_S: Final = 10.0
"""How long a body may take to arrive where the bot's group is not known."""

log = logging.getLogger("router.proxy")


class BotRequest(RequestBody):
    """See the module."""

    __slots__ = (
        "_allowed_s",
        "_asking",
        "_bot",
        "_foreign",
        "_framing",
        "_front",
        "_has_budget",
        "_head",
        "_lease",
        "_path",
        "_target",
        "began_s",
        "bytes_out",
        "cold",
        "error",
        "hop",
        "look",
        "request_id",
        "status",
        "tenant",
    )

    def __init__(self, front: Front, target: Target, path: bytes, *, error: ShardingError | None = None) -> None:
        """`error`: what is wrong with the request already."""
        super().__init__(front.limits, front.account)
        self._front = front
        self._target = target
        self._path = path
        self._head: RequestHead | None = None
        self._bot: BotRoute | None = None
        self._lease: Lease | None = None
        self._has_budget = False
        self._allowed_s = 0.0
        self._asking: Asking | None = None
        self._framing: Framing | None = None
        self._foreign: bytes | None = None
        """What has come of an error that is not in the protocol's form."""
        self.error: Exception | None = error
        """Why there is no answer of a pool, or not all of one."""
        self.began_s = 0.0
        self.request_id = b""
        self.status = 0
        """Of the answer that went to the client; 0: none did."""
        self.look: Look | None = None
        """What is to be told of it; None: nothing, unless it fails."""
        self.cold: ColdStart | None = None
        """What it waited for, where that was a pool's start or the load of its bot."""
        self.hop = "client"
        """Whose answer went to the client: of the pool, a gateway before it, the router; `client`: it had gone."""
        self.tenant = ""
        """Who asks, where that is known."""
        self.bytes_out = 0
        """Of the answer's body, handed to the connection."""

    @property
    def bot_id(self) -> str:
        """The bot that is asked."""
        return self._target.bot

    @property
    def path(self) -> bytes:
        """As it is sent on."""
        return self._path

    @property
    def pool(self) -> PoolState | None:
        """The pool that was asked last."""
        return None if self._asking is None else self._asking.pool

    @property
    def tries(self) -> int:
        """At pools, those that failed among them."""
        return 0 if self._asking is None else self._asking.tries

    # ── the request ───────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """The head is here: whose request is it, and how long may it take?"""
        front = self._front
        self.began_s = monotonic()
        if front.telemetry.is_watching:
            self.look = front.telemetry.look(self.fields.get(TRACEPARENT))
        try:
            head = self._head = read_request_head(self.headers, self.fields, front.dropped)
            self.request_id = head.request_id or front.next_id()
            if head.timeout_s is not None:
                self._allow(head.timeout_s)
            bot = front.routes.find(self._target.bot)
            if front.gate is not None and self.error is None:
                # Before anything is kept of the body, and before it is waited for.
                lease = self._lease = front.gate.admit(front.gate.who(self.fields), self._target.bot, bot)
                bot, self.tenant = lease.bot, lease.principal.tenant
            self._bot = bot
            if head.content_length is not None and head.content_length > front.limits.small_body_bytes:
                self.hold(head.content_length)
        except ShardingError as error:
            self.request_id = self.request_id or front.next_id()
            self.error = self.error or error
            return
        if self._bot is None and not front.routes.ready:
            missing = NotReadyError("the router has not read a routing table and a catalog yet", retry_after_s=1)
            self.error = self.error or missing

    def take(self, data: bytes, /) -> None:
        """Keep a piece of the body, or send it on, unless the request is refused already or too much is held."""
        if self.upload is not None:
            self.upload.add(data)
        elif self.error is None:
            super().take(data)
            if self.body_bytes > self._front.limits.small_body_bytes:
                self._take_large()

    def _take_large(self) -> None:
        assert self._head is not None  # noqa: S101 - else there is an error
        try:
            is_new = self.account_for(self._head.content_length)
        except OverloadedError as error:
            self.error = error
            self.forget_body()
            is_new = True
        if is_new and self.is_started:
            self._proceed()

    def complete(self) -> None:
        """The body is whole."""
        if self.upload is not None:
            self.upload.end()
            return
        super().complete()
        if self.is_started:
            self._proceed()

    def start(self) -> None:
        """Its turn."""
        self._proceed()

    def _proceed(self) -> None:
        if self.error is not None:
            self._refuse(self.error)
        elif self.is_whole or self.upload is not None:
            self._make_asking().start()
        else:
            self._await_body()

    def _await_body(self) -> None:
        group = None if self._bot is None else self._front.way.group_of(self._bot)
        self._allow(_FIRST_BUDGET_S if group is None else group.request_timeout_s)
        if self.expects_continue:
            self.expects_continue = False
            self.link.write(CONTINUE)

    def go_on(
        self,
        *,
        bot: BotRoute | None,
        pool: PoolState,
        connection: Connection,
        began_s: float,
        budget_s: float,
        request_id: bytes,
        lease: Lease | None,
    ) -> None:
        """Go on with what was sent already, by the short way; the request has its head and its body."""
        self._head = read_request_head(self.headers, self.fields, self._front.dropped)
        self._bot, self.request_id, self._lease = bot, request_id, lease
        self.tenant = "" if lease is None else lease.principal.tenant
        self.began_s, self._has_budget, self._allowed_s = began_s, True, budget_s
        self.deadline_s = began_s + budget_s
        self._make_asking().go_on(pool, connection, sent_s=began_s)

    def _make_asking(self) -> Asking:
        assert self._head is not None  # noqa: S101 - else there is an error
        trace = None if self.look is None else self.look.trace
        if trace is not None:
            self._head.lines = trace.without_parent(self._head.lines)
        upload = self.upload
        size = len(self.body) if upload is None else self._head.content_length
        head = ForwardedHead.of(
            self._head,
            method=self.method,
            path=self._path,
            framing=framing_of(size, has_body=self.method == b"POST"),
            request_id=self.request_id,
            client=self.link.peer,
            scheme=self.link.scheme,
        )
        self._asking = Asking(
            self._front.way,
            self,
            target=self._target,
            bot=self._bot,
            head=head,
            body=self.body if upload is None else upload,
            trace=trace,
        )
        return self._asking

    # ── what the asking calls ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, at least a millisecond."""
        return max(0.001, self.deadline_s - monotonic())

    def allow(self, budget_s: float, /) -> None:
        """See `router.client.Client`."""
        if not self._has_budget or self.began_s + budget_s > self.deadline_s:
            self._has_budget = True
            self._allow(budget_s)

    def _allow(self, budget_s: float) -> None:
        timeout_s = None if self._head is None else self._head.timeout_s
        if timeout_s is not None and timeout_s < budget_s:
            budget_s = timeout_s
        self._allowed_s = budget_s
        self.deadline_s = self.began_s + budget_s
        self.link.watch(self)

    def found(self, bot_id: str, bot: BotRoute, /) -> None:
        """See `router.asking.Client`."""
        if self._lease is not None:
            self._lease.found(bot_id, bot)

    def answer(self, head: AnswerHead, connection: Connection, /, *, wrap: bool) -> None:
        """See `router.client.Client`."""
        self.hop = "pool" if head.epoch else "gateway"
        if wrap and self.method != b"HEAD":
            self._foreign = b""
            self._collect(connection)
            return
        lines = head.lines
        if (asking := self._asking) is not None:
            marks = Marks(self.began_s, asking.started_s, asking.chosen_s, asking.sent_s)
            self.cold = tell_cold_start(marks, lines, monotonic(), tells_all=self._front.telemetry.tells_times)
        if not head.has_request_id:
            lines.append(line(REQUEST_ID, self.request_id))
        if not head.has_pool and self.pool is not None:
            lines.append(line(POOL, self.pool.route.name.encode()))
        self.status = connection.status
        if connection.finished and self.method != b"HEAD":
            self._reply(Answer(self.status, b"".join(lines), connection.take()))
            return
        self._framing = Framing(self, self.status, length=head.length)
        self.link.write(self._framing.head(lines))
        self._pass(connection, self._framing)

    def more(self) -> None:
        """See `router.client.Client`."""
        connection = None if self._asking is None else self._asking.connection
        if connection is None:
            return
        if self._framing is not None:
            self._pass(connection, self._framing)
        elif self._foreign is not None:
            self._collect(connection)

    def failed(self, error: Exception, /) -> None:
        """See `router.client.Client`."""
        if self.error is None:
            self.error = error
        if self._framing is None:
            self._refuse(error)
        else:
            self.link.broken(self)  # half an answer must not be taken for a whole one

    # ── the answer ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def has_answered(self) -> bool:
        """Whether the head of an answer went to the client that is not whole yet."""
        return self._framing is not None

    def _pass(self, connection: Connection, framing: Framing) -> None:
        """What has come to the client; unless it does not read, which holds back the pool."""
        if not self.link.out.is_open:
            return
        is_last, error = connection.finished, connection.error
        piece = connection.take()
        self.bytes_out += len(piece)
        if piece or is_last:
            self.link.write(framing.piece(piece, is_last=is_last))
        if is_last:
            self._let_go()
            self.link.finished(self)
        elif error is not None:
            self.failed(error)

    def resumed(self) -> None:
        """The client reads again."""
        self.more()

    def _collect(self, connection: Connection) -> None:
        """An error of something in front of the pool, in the protocol's form unless it has that already."""
        text = (self._foreign or b"") + connection.take()
        self._foreign = text
        if not connection.finished and len(text) < MAX_FOREIGN_BYTES:
            if connection.error is not None:
                self.failed(connection.error)
            return
        answer = foreign_answer(
            connection, text, pool="" if self.pool is None else self.pool.route.name, request_id=self.request_id
        )
        self.status = answer.status
        self._reply(answer)

    def _refuse(self, error: Exception) -> None:
        """An answer of the router's own."""
        if not isinstance(error, ShardingError):
            log.error("request failed", exc_info=error)
            error = TerminalError("internal error; the router's log has the details")
        if isinstance(error, BodyTimeoutError):
            self.keep_alive = False
        self.hop = "router"
        answer = self._front.own_answer(error, self.request_id)
        self.status = answer.status
        self._reply(answer)

    def _reply(self, answer: Answer) -> None:
        self._let_go()
        self.bytes_out = len(answer.body)
        self.link.reply(self, answer)

    def _let_go(self) -> None:
        if self._asking is not None:
            self._asking.let_go()

    def expire(self) -> None:
        """The time is up."""
        if self.is_over:
            return
        if self.is_whole or self.is_full:  # else it is the client who is waited for
            self.failed(DeadlineError(f"not answered within {self._allowed_s:.3g} s"))
        else:
            self.failed(BodyTimeoutError(f"the request's body did not arrive within {self._allowed_s:.3g} s"))

    def abandon(self) -> None:
        """The client is gone, or was told why it gets nothing."""
        if self.error is None:
            self.error = ClientGoneError("the client closed its connection")

    def over(self) -> None:
        """Let go of everything, count, tell."""
        if self._asking is not None:
            self._asking.stop()
        if self._lease is not None:
            self._lease.give_back()
        self.give_back()
        self._front.ended(self)
        self._asking = None  # which knows this request: without the circle neither waits for the garbage collector
