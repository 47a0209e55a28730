"""A client's call to a bot, from its message to its answer: `router.request` over gRPC, with the same way to pools."""

from __future__ import annotations

import logging
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from botshard.oip import headers as names
from botshard.oip.trace_context import TRACEPARENT
from botshard.rpc.calls import UnaryCall
from botshard.sharding.errors import ShardingError, TerminalError
from router.access.principal import Lease
from router.asking import Asking
from router.errors import ClientGoneError, DeadlineError, InvalidAnswerError, NotReadyError, OverloadedError
from router.heads import AnswerHead, ForwardedHead, RequestHead, framing_of, read_request_head
from router.pools import PoolState
from router.problems import problem_of
from router.rpc.ask import Ask, Make
from router.rpc.metadata import Trailing, fields_of, trailing_of
from router.rpc.statuses import code_of
from router.table import BotRoute
from router.telemetry.ledger import ColdStart
from router.telemetry.telemetry import Look
from router.upstream import Connection

if TYPE_CHECKING:
    from router.rpc.front import RpcFront

__all__ = ["BotCall"]

_TEXT_BYTES: Final = 2048
_OK: Final = 200
_GONE_EARLY_S: Final = 0.01
"""gRPC ends a call at its deadline by itself; one that ends so near to it was not given up."""

log = logging.getLogger("router.rpc")


class CallLink(NamedTuple):
    """Over what a call came, as it is told of it."""

    peer: tuple[str, int] | None
    scheme: str


class BotCall:
    """See the module. It is a `router.client.Client` and a `router.telemetry.ended_request.EndedRequest`."""

    __slots__ = (
        "_allowed_s",
        "_ask",
        "_asking",
        "_front",
        "_has_budget",
        "_head",
        "_held_bytes",
        "_lease",
        "_parts",
        "_rpc",
        "_size_bytes",
        "_timeout_s",
        "began_s",
        "body_bytes",
        "bot_id",
        "bytes_out",
        "cold",
        "deadline_s",
        "error",
        "fields",
        "hop",
        "is_over",
        "link",
        "look",
        "request_id",
        "status",
        "target",
        "tenant",
    )

    method = b"POST"
    has_answered = False
    """An answer goes to its client whole or not at all."""

    def __init__(self, front: RpcFront, rpc: UnaryCall, target: bytes) -> None:
        """`target`: the method's full name, as logs tell it."""
        self._front = front
        self._rpc = rpc
        self.target = target
        self.began_s = monotonic()
        self.deadline_s = rpc.deadline_s
        self._timeout_s = self._allowed_s = rpc.deadline_s - self.began_s
        self._has_budget = False
        self._ask: Ask | None = None
        self._head: AnswerHead | None = None
        self._asking: Asking | None = None
        self._lease: Lease | None = None
        self._held_bytes = self._size_bytes = 0
        self._parts: list[bytes] = []
        self.bot_id = self.tenant = ""
        self.hop = "client"
        self.link = CallLink(rpc.peer, front.scheme)
        self.fields: dict[bytes, bytes] = {}
        self.look: Look | None = None
        self.cold: ColdStart | None = None
        self.body_bytes = self.bytes_out = 0
        self.error: Exception | None = None
        self.request_id = b""
        self.status = 0
        self.is_over = False

    @property
    def pool(self) -> PoolState | None:
        """The pool that was asked last."""
        return None if self._asking is None else self._asking.pool

    @property
    def tries(self) -> int:
        """At pools, those that failed among them."""
        return 0 if self._asking is None else self._asking.tries

    def begin(self, make: Make, /) -> None:
        """Take it up; whatever is wrong with it, the client is told."""
        front, rpc = self._front.front, self._rpc
        try:
            headers = fields_of(rpc.metadata)
            fields = self.fields = dict(headers)
            if front.telemetry.is_watching:
                self.look = front.telemetry.look(fields.get(TRACEPARENT))
            head = read_request_head(headers, fields, front.dropped)
            self.request_id = head.request_id or front.next_id()
            if head.timeout_s is not None and head.timeout_s < self._timeout_s:
                self._timeout_s = self._allowed_s = head.timeout_s
                self.deadline_s = self.began_s + head.timeout_s
            ask = self._ask = make(rpc.message)
            self.bot_id = ask.target.bot
            bot = front.routes.find(self.bot_id)
            if front.gate is not None:
                self._lease = front.gate.admit(front.gate.who(fields), self.bot_id, bot)
                bot, self.tenant = self._lease.bot, self._lease.principal.tenant
            self.body_bytes = len(ask.body)
            self._hold(self.body_bytes)
            self._start(ask, head, bot)
        except Exception as error:  # noqa: BLE001 - every error has its place in the table of problems
            self.request_id = self.request_id or front.next_id()
            self.failed(error)

    def _start(self, ask: Ask, head: RequestHead, bot: BotRoute | None) -> None:
        if bot is None and not self._front.front.routes.ready:
            raise NotReadyError("the router has not read a routing table and a catalog yet", retry_after_s=1)
        if ask.content_type:
            head.lines += b"content-type: %b\r\n" % ask.content_type
        trace = None if self.look is None else self.look.trace
        if trace is not None:
            head.lines = trace.without_parent(head.lines)
        forwarded = ForwardedHead.of(
            head,
            method=ask.method,
            path=ask.path,
            framing=framing_of(self.body_bytes, has_body=ask.method == b"POST"),
            request_id=self.request_id,
            client=self._rpc.peer,
            scheme=self._front.scheme,
        )
        self._rpc.on_gone = self._gone
        self._front.began(self)
        self._asking = Asking(
            self._front.front.way, self, target=ask.target, bot=bot, head=forwarded, body=ask.body, trace=trace
        )
        self._asking.start()

    def _hold(self, size_bytes: int) -> None:
        """Account for bytes that are held, small messages apart."""
        front = self._front.front
        if size_bytes > front.limits.small_body_bytes and size_bytes > self._held_bytes:
            if not front.account.take(size_bytes - self._held_bytes):
                raise OverloadedError("the router holds as many messages as it may", retry_after_s=1)
            self._held_bytes = size_bytes

    # ── what the asking calls ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, at least a millisecond."""
        return max(0.001, self.deadline_s - monotonic())

    def allow(self, budget_s: float, /) -> None:
        """See `router.client.Client`."""
        if self._has_budget and self.began_s + budget_s <= self.deadline_s:
            return
        self._has_budget = True
        self._allowed_s = min(budget_s, self._timeout_s)
        self.deadline_s = self.began_s + self._allowed_s
        self._front.watch(self.deadline_s)

    def found(self, bot_id: str, bot: BotRoute, /) -> None:
        """See `router.client.Client`."""
        if self._lease is not None:
            self._lease.found(bot_id, bot)

    def answer(self, head: AnswerHead, connection: Connection, /, *, wrap: bool) -> None:  # noqa: ARG002 - told by its text
        """See `router.client.Client`."""
        self._head = head
        self.hop = "pool" if head.epoch else "gateway"
        self._take(connection)

    def more(self) -> None:
        """See `router.client.Client`."""
        connection = None if self._asking is None else self._asking.connection
        if connection is not None:
            self._take(connection)

    def _take(self, connection: Connection) -> None:
        if not connection.finished:
            if connection.error is not None:
                self.failed(connection.error)
                return
            part = connection.take()
            self._size_bytes += len(part)
            self._parts.append(part)
            self._hold(self._size_bytes)
            return
        body = connection.take()
        if self._parts:
            body = b"".join((*self._parts, body))
            self._parts.clear()
        self._finish(connection.status, connection.headers, body)

    def _finish(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """The pool's answer is here, whole."""
        assert self._ask is not None  # noqa: S101 - it was asked
        assert self._head is not None  # noqa: S101 - it was answered
        try:
            message = self._ask.read(status, self._head.content_type, body)
        except InvalidAnswerError as error:
            self.failed(error)
            return
        trailing = self._trailing(headers)
        if message is not None:
            self.status = _OK
            self.bytes_out = len(message)
            self._rpc.answer(message, trailing)
        else:
            self.status = status
            self._rpc.fail(code_of(status), self._text(status, body), trailing)
        self._over()

    def _trailing(self, headers: list[tuple[bytes, bytes]]) -> Trailing:
        found = trailing_of(headers)
        head, pool = self._head, self.pool
        if head is not None and not head.has_request_id:
            found = (*found, (names.REQUEST_ID, self.request_id.decode()))
        if head is not None and not head.has_pool and pool is not None:
            found = (*found, (names.POOL, pool.route.name))
        return found

    def _text(self, status: int, body: bytes) -> str:
        """What the pool says of its error, or what is in front of it."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            document = None
        text = document.get("error") if isinstance(document, dict) else None
        if isinstance(text, str):
            return text
        shown = body[:_TEXT_BYTES].decode(errors="replace").strip() or "no text"
        return f"pool {'' if self.pool is None else self.pool.route.name} answered {status}: {shown}"

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def failed(self, error: Exception, /) -> None:
        """See `router.client.Client`."""
        if self.is_over:
            return
        self.error = error
        if not isinstance(error, ShardingError):
            log.error("call failed", exc_info=error)
            error = TerminalError("internal error; the router's log has the details")
        problem = problem_of(error)
        self.hop = "router"
        self.status = problem.status
        epoch = self._front.front.way.epoch
        trailing = (
            *trailing_of(problem.headers),
            (names.REQUEST_ID, self.request_id.decode()),
            *(((names.EPOCH, str(epoch)),) if epoch else ()),
        )
        self._rpc.fail(code_of(problem.status), str(error), trailing)
        self._over()

    def expire(self) -> None:
        """The time is up."""
        self.failed(DeadlineError(f"not answered within {self._allowed_s:.3g} s"))

    def _gone(self) -> None:
        """The client does not wait any more."""
        if self.is_over:
            return
        if self._rpc.deadline_s < inf and self._rpc.deadline_s - monotonic() < _GONE_EARLY_S:
            self.error = DeadlineError(f"not answered within {self._timeout_s:.3g} s")
            self.status = 504
        else:
            self.error = ClientGoneError("the client cancelled its call")
        self._over()

    def _over(self) -> None:
        """Let go of everything, count, tell."""
        self.is_over = True
        asking = self._asking
        if asking is not None:
            asking.let_go()
            asking.stop()
        front = self._front.front
        if self._held_bytes:
            front.account.give(self._held_bytes)
            self._held_bytes = 0
        if self._lease is not None:
            self._lease.give_back()
        self._front.ended(self)
        front.ended(self)
        self._asking = None  # which knows this call
