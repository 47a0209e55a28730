"""A client's request to a bot, from its head to the last byte of its answer.

Bodies go through as bytes, both ways. A request's is read whole before it is sent on, so that it can be sent again to
another pool or over a fresh connection, and so that a client that sends slowly never occupies a replica. The price is
memory, which an account bounds; small bodies, which nearly all are, come in one piece and are not counted.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from botshard.http1.answers import CONTINUE, JSON, Answer, line
from botshard.http1.framing import Framing
from botshard.http1.whole import WholeBody
from botshard.sharding.errors import ShardingError, TerminalError
from router.asking import Asking
from router.errors import BodyTimeoutError, ClientGoneError, DeadlineError, NotReadyError, OverloadedError
from router.heads import POOL, REQUEST_ID, RETRY_AFTER, AnswerHead, ForwardedHead, RequestHead, read_request_head
from router.pools import PoolState
from router.problems import error_body
from router.table import BotRoute
from router.targets import Target
from router.telemetry.ledger import ColdStart, Marks, tell_cold_start
from router.telemetry.telemetry import Look
from router.telemetry.traceparent import TRACEPARENT
from router.upstream import Connection

if TYPE_CHECKING:
    from router.front import Front

__all__ = ["BotRequest"]

_FIRST_BUDGET_S: Final = 10.0
"""How long a body may take to arrive where the bot's group is not known."""
_MAX_FOREIGN_ERROR_BYTES: Final = 2048
_NO_STATUS: Final = 0

log = logging.getLogger("router.proxy")


class BotRequest(WholeBody):
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
        "_held_bytes",
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
        super().__init__()
        self._front = front
        self._target = target
        self._path = path
        self._head: RequestHead | None = None
        self._bot: BotRoute | None = None
        self._has_budget = False
        self._allowed_s = 0.0
        self._held_bytes = 0
        self._asking: Asking | None = None
        self._framing: Framing | None = None
        self._foreign: bytes | None = None
        """What has come of an error that is not in the protocol's form."""
        self.error: Exception | None = error
        """Why there is no answer of a pool, or not all of one."""
        self.began_s = 0.0
        self.request_id = b""
        self.status = _NO_STATUS
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
    def is_plain_infer(self) -> bool:
        """Whether it asks for an inference by the shortest path there is."""
        return self._path == self.target and not self._target.versioned and self._path.endswith(b"/infer")

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
            head = self._head = read_request_head(self.headers, self.fields)
            self.request_id = head.request_id or front.next_id()
            if head.content_length is not None and head.content_length > front.limits.small_body_bytes:
                self._hold(head.content_length)
        except ShardingError as error:
            self.request_id = self.request_id or front.next_id()
            self.error = self.error or error
            return
        self._bot = front.routes.find(self._target.bot)
        if self._bot is None and not front.routes.ready:
            missing = NotReadyError("the router has not read a routing table and a catalog yet", retry_after_s=1)
            self.error = self.error or missing

    def take(self, data: bytes, /) -> None:
        """Keep a piece of the body, unless the request is refused already or too much is held."""
        if self.error is not None:
            return
        super().take(data)
        if self.body_bytes > self._front.limits.small_body_bytes and self.body_bytes > self._held_bytes:
            try:
                self._hold(self.body_bytes)
            except OverloadedError as error:
                self.error = error
                self.forget_body()
                if self.is_started:
                    self._proceed()

    def _hold(self, size_bytes: int) -> None:
        if not self._front.account.take(size_bytes - self._held_bytes):
            raise OverloadedError("the router holds as many request bodies as it may", retry_after_s=1)
        self._held_bytes = size_bytes

    def complete(self) -> None:
        """The body is whole."""
        super().complete()
        if self.is_started:
            self._proceed()

    def start(self) -> None:
        """Its turn."""
        self._proceed()

    def _proceed(self) -> None:
        if self.error is not None:
            self._refuse(self.error)
        elif self.is_whole:
            self._ask()
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
    ) -> None:
        """Go on with what was sent already, by the short way; the request has its head and its body."""
        self._head = read_request_head(self.headers, self.fields)
        self._bot, self.request_id = bot, request_id
        self.began_s, self._has_budget, self._allowed_s = began_s, True, budget_s
        self.deadline_s = began_s + budget_s
        self._make_asking().go_on(pool, connection, sent_s=began_s)

    def _ask(self) -> None:
        self._make_asking().start()

    def _make_asking(self) -> Asking:
        assert self._head is not None  # noqa: S101 - else there is an error
        size = len(self.body)
        trace = None if self.look is None else self.look.trace
        if trace is not None:
            self._head.lines = trace.without_parent(self._head.lines)
        head = ForwardedHead.of(
            self._head,
            method=self.method,
            path=self._path,
            body_bytes=size if size or self.method == b"POST" else None,
            request_id=self.request_id,
            client=self.link.peer,
        )
        way = self._front.way
        self._asking = Asking(way, self, target=self._target, bot=self._bot, head=head, body=self.body, trace=trace)
        return self._asking

    # ── what the asking calls ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, at least a millisecond."""
        return max(0.001, self.deadline_s - monotonic())

    def allow(self, budget_s: float, /) -> None:
        """See `router.asking.Client`."""
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

    def answer(self, head: AnswerHead, connection: Connection, /, *, wrap: bool) -> None:
        """See `router.asking.Client`."""
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
        """See `router.asking.Client`."""
        connection = None if self._asking is None else self._asking.connection
        if connection is None:
            return
        if self._framing is not None:
            self._pass(connection, self._framing)
        elif self._foreign is not None:
            self._collect(connection)

    def failed(self, error: Exception, /) -> None:
        """See `router.asking.Client`."""
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
        if not connection.finished and len(text) < _MAX_FOREIGN_ERROR_BYTES:
            if connection.error is not None:
                self.failed(connection.error)
            return
        pool = "" if self.pool is None else self.pool.route.name
        status, retry_after = connection.status, dict(connection.headers).get(RETRY_AFTER)
        if connection.finished and text.lstrip().startswith(b'{"error"'):
            body = text
        else:
            shown = text[:_MAX_FOREIGN_ERROR_BYTES].decode(errors="replace").strip() or "no text"
            body = error_body(f"pool {pool} answered {status}: {shown}")
        lines = JSON + line(REQUEST_ID, self.request_id) + line(POOL, pool.encode())
        if retry_after is not None:
            lines += line(RETRY_AFTER, retry_after)
        self.status = status
        self._reply(Answer(status, lines, body))

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

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def expire(self) -> None:
        """The time is up."""
        if self.is_over:
            return
        allowed_s = self._allowed_s
        if self.is_whole:
            self.failed(DeadlineError(f"not answered within {allowed_s:.3g} s"))
        else:
            self.failed(BodyTimeoutError(f"the request's body did not arrive within {allowed_s:.3g} s"))

    def abandon(self) -> None:
        """The client is gone, or was told why it gets nothing."""
        if self.error is None:
            self.error = ClientGoneError("the client closed its connection")

    def over(self) -> None:
        """Let go of everything, count, tell."""
        if self._asking is not None:
            self._asking.stop()
        if self._held_bytes:
            self._front.account.give(self._held_bytes)
            self._held_bytes = 0
        self._front.ended(self)
        self._asking = None  # which knows this request: without the circle neither waits for the garbage collector
