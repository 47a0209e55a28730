"""The hot path: an ASGI callable that takes requests to bots and hands everything else to the application behind it.

It stands in front of FastAPI, not inside: routing through FastAPI costs more than everything else here together
(`docs/router.md`). A body goes through as bytes, both ways.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import count
from typing import Any, Final, TypeAlias

from botshard.logs import fields
from botshard.sharding.errors import CallerError, ShardingError
from router.bodies import RequestBody
from router.errors import ClientGoneError, CutError, DeadlineError, InvalidAnswerError
from router.forwarding import Forwarding, PoolAnswer, Request
from router.heads import EPOCH, POOL, REQUEST_ID, ForwardedHead, read_request_head
from router.limits import BodyAccount, Limits
from router.metrics import Outcome, RouterCounts
from router.patience import Patience
from router.problems import error_body, problem_of
from router.refusals import RefusalLog
from router.table import Routes
from router.targets import Target, canonical_path, read_target

__all__ = ["Proxy"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_FIRST_BUDGET_S: Final = 10.0
"""How long a body may take to arrive, until the bot's group is known."""
_MAX_FOREIGN_ERROR_BYTES: Final = 2048
_NO_STATUS: Final = 0


class _Exchange:
    """What is known of one request while it is answered."""

    __slots__ = ("answer", "body", "request", "request_id", "started_s", "status")

    def __init__(self, request_id: bytes, body: RequestBody) -> None:
        self.request_id = request_id
        self.body = body
        self.request: Request | None = None
        self.answer: PoolAnswer | None = None
        self.started_s = time.perf_counter()  # the loop's own clock counts whole milliseconds
        self.status = _NO_STATUS
        """Of the answer whose head went to the client; 0: none did."""


class Proxy:
    """See the module."""

    def __init__(
        self,
        app: App,
        forwarding: Forwarding,
        *,
        routes: Routes,
        limits: Limits,
        account: BodyAccount,
        counts: RouterCounts,
        access_log: bool = False,
    ) -> None:
        self._app = app
        self._forwarding = forwarding
        self._routes = routes
        self._limits = limits
        self._account = account
        self._counts = counts
        self._access_log = access_log
        self._log = logging.getLogger("router.proxy")
        self._loop = asyncio.get_running_loop()
        self._refusals = RefusalLog(self._log, loop=self._loop)
        self._id_prefix = secrets.token_hex(8)
        self._ids = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI request."""
        target: Target | None = None
        refusal: ShardingError | None = None
        if scope["type"] == "http":
            try:
                target = read_target(scope["method"], scope["path"])
            except ShardingError as wrong:
                refusal = wrong
        if target is None and refusal is None:
            # HEAD is answered as GET; the server behind `send` leaves the body out.
            await self._app({**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope, receive, send)
            return
        exchange = _Exchange(
            b"%b-%x" % (self._id_prefix.encode(), next(self._ids)), RequestBody(self._limits, self._account)
        )
        patience = Patience(receive, loop=self._loop, budget_s=_FIRST_BUDGET_S)
        try:
            if target is not None:
                with patience:
                    await self._forward(target, scope, receive, send, exchange=exchange, patience=patience)
        except ShardingError as error:
            refusal = error
        except Exception:  # noqa: BLE001 - logged; the client gets an answer in the protocol's form
            self._log.exception("request failed", extra=fields(path=scope["path"][:200]))
            refusal = CallerError("internal error; the router's log has the details")
        finally:
            if exchange.answer is not None:
                self._forwarding.finish(exchange.answer)
            exchange.body.release()
        if refusal is not None and exchange.status == _NO_STATUS and not isinstance(refusal, ClientGoneError):
            await self._refuse(refusal, exchange, send)
        self._count(exchange, refusal, time.perf_counter() - exchange.started_s)
        if self._access_log or refusal is not None:
            self._tell(scope, exchange, refusal, time.perf_counter() - exchange.started_s)
        # An answer that was begun and is not whole is not completed here: the server then closes the connection.

    async def _forward(
        self,
        target: Target,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        exchange: _Exchange,
        patience: Patience,
    ) -> None:
        head = read_request_head(scope["headers"])
        if head.request_id:
            exchange.request_id = head.request_id
        bot = await self._forwarding.find(target)
        group = self._forwarding.group_of(bot)
        if group is not None or head.timeout_s is not None:
            budgets = (group.request_timeout_s if group else None, head.timeout_s)
            patience.set_budget(min(budget for budget in budgets if budget is not None))
        method = scope["method"]
        await exchange.body.read(receive, head.content_length)
        patience.body_is_here()
        path = canonical_path(scope["raw_path"], scope["path"])
        if scope["query_string"]:
            path += b"?" + scope["query_string"]
        body = exchange.body.data
        forwarded = ForwardedHead.of(
            head,
            method=method,
            path=path,
            body_bytes=len(body) if body or method == "POST" else None,
            request_id=exchange.request_id,
            client=scope.get("client"),
            scheme=scope["scheme"],
        )
        request = exchange.request = Request(target, bot, forwarded, body, method == "HEAD", head.timeout_s)
        answer = exchange.answer = await self._forwarding.send(request, patience)
        if answer.wrap and not request.head_only:
            await self._pass_wrapped(answer, exchange, send)
        else:
            await self._pass(answer, exchange, send)

    async def _pass(self, answer: PoolAnswer, exchange: _Exchange, send: Send) -> None:
        """The pool's answer to the client, piece by piece as it comes."""
        head = answer.head
        if not head.has_request_id:
            head.kept.append((REQUEST_ID, exchange.request_id))
        if not head.has_pool:
            head.kept.append((POOL, answer.pool.route.name.encode()))
        connection = answer.connection
        exchange.status = answer.status
        await send({"type": "http.response.start", "status": answer.status, "headers": head.kept})
        while not connection.finished:
            piece = await connection.piece()
            if piece is None:
                break
            if not connection.finished:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            else:
                await send({"type": "http.response.body", "body": piece, "more_body": False})
                return
        await send({"type": "http.response.body", "body": connection.take(), "more_body": False})

    async def _pass_wrapped(self, answer: PoolAnswer, exchange: _Exchange, send: Send) -> None:
        """An error of something in front of the pool, in the protocol's form unless it has that already."""
        connection = answer.connection
        text = b""
        while len(text) < _MAX_FOREIGN_ERROR_BYTES:
            piece = await connection.piece()
            if piece is None:
                break
            text += piece
        pool = answer.pool.route.name
        if connection.finished and text.lstrip().startswith(b'{"error"'):
            body = text
        else:
            shown = text[:_MAX_FOREIGN_ERROR_BYTES].decode(errors="replace").strip() or "no text"
            body = error_body(f"pool {pool} answered {answer.status}: {shown}")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (REQUEST_ID, exchange.request_id),
            (POOL, pool.encode()),
        ]
        if answer.head.retry_after:
            headers.append((b"retry-after", answer.head.retry_after))
        exchange.status = answer.status
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _refuse(self, error: ShardingError, exchange: _Exchange, send: Send) -> None:
        """An answer of the router's own."""
        answer = problem_of(error)
        table = self._routes.table
        answer.headers.append((REQUEST_ID, exchange.request_id))
        if table is not None:
            answer.headers.append((EPOCH, b"%d" % table.epoch))
        exchange.status = answer.status
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    def _count(self, exchange: _Exchange, error: ShardingError | None, took_s: float) -> None:
        request = exchange.request
        if request is None or request.pool is None:
            self._counts.unserved[exchange.status] = self._counts.unserved.get(exchange.status, 0) + 1
            return
        match error:
            case None:
                outcome = Outcome.ANSWERED
            case ClientGoneError():
                outcome = Outcome.CLIENT_GONE
            case DeadlineError():
                outcome = Outcome.DEADLINE
            case CutError() | InvalidAnswerError() if exchange.answer is not None:
                outcome = Outcome.CUT
            case _:
                outcome = Outcome.FAILED
        request.pool.counts.finished(exchange.status, outcome, took_s)

    def _tell(self, scope: Scope, exchange: _Exchange, error: ShardingError | None, took_s: float) -> None:
        """One line: of every request where that is wanted, of those that failed here in any case."""
        request = exchange.request
        pool = request.pool if request is not None else None
        event = fields(
            method=scope["method"],
            path=scope["path"][:200],
            status=exchange.status,
            took_s=round(took_s, 6),
            pool="" if pool is None else pool.route.name,
            request_id=exchange.request_id.decode(),
            **({} if error is None else {"why": str(error)}),
        )
        gone = error is None or isinstance(error, ClientGoneError)
        if gone and self._access_log:
            self._log.info("request", extra=event)
        elif gone:
            self._refusals.tell(logging.INFO, "request", event, status=exchange.status)
        elif exchange.answer is not None and exchange.status != _NO_STATUS:
            self._refusals.tell(logging.WARNING, "answer cut off", event, status=exchange.status)
        else:
            self._refusals.tell(logging.INFO, "request refused", event, status=exchange.status)
