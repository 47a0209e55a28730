"""The clients' side: which requests go to a bot, answers of the router's own, and what is counted and told."""

from __future__ import annotations

import logging
import secrets
from itertools import count
from time import monotonic

from botshard.http1.answers import Answer, line
from botshard.logs import fields
from botshard.sharding.errors import ShardingError
from router import problems
from router.errors import ClientGoneError, CutError, DeadlineError, InvalidAnswerError
from router.forwarding import Forwarding
from router.heads import EPOCH, REQUEST_ID
from router.limits import BodyAccount, Limits
from router.metrics import Outcome, RouterCounts
from router.refusals import RefusalLog
from router.request import BotRequest
from router.targets import Target, read_request_target

__all__ = ["Front"]

_NOBODY = Target("", versioned=False)


class Front:
    """What all requests of clients share. Everything that is not to a bot goes to the application behind."""

    def __init__(
        self, way: Forwarding, *, limits: Limits, account: BodyAccount, counts: RouterCounts, access_log: bool = False
    ) -> None:
        self.way = way
        self.routes = way.routes
        self.limits = limits
        self.account = account
        self._counts = counts
        self._access_log = access_log
        self._log = logging.getLogger("router.proxy")
        self._refusals = RefusalLog(self._log, loop=way.loop)
        self._id_prefix = secrets.token_hex(8).encode()
        self._ids = count(1)

    @property
    def tells_all(self) -> bool:
        """Whether every request is logged."""
        return self._access_log

    def recognise(self, method: bytes, target: bytes, /) -> BotRequest | None:
        """See `botshard.http1.hot.Recognise`."""
        try:
            found = read_request_target(method, target)
        except ShardingError as error:
            return BotRequest(self, _NOBODY, target, error=error)
        return None if found is None else BotRequest(self, *found)

    def refuse(self, status: int, text: str, fields_of: dict[bytes, bytes], /) -> Answer:
        """See `botshard.http1.exchange.Refuse`."""
        request_id = self.next_id()
        self._count_unserved(status)
        event = fields(status=status, request_id=request_id.decode(), why=text)
        self._refusals.tell(logging.INFO, "request refused", event, status=status)
        return self._answer(problems.with_error_body(status, text), fields_of.get(REQUEST_ID, request_id))

    def own_answer(self, error: ShardingError, request_id: bytes, /) -> Answer:
        """What the client is told of an error."""
        return self._answer(problems.problem_of(error), request_id)

    def _answer(self, problem: problems.Answer, request_id: bytes) -> Answer:
        lines = [line(name, value) for name, value in problem.headers if name != b"content-length"]
        lines.append(line(REQUEST_ID, request_id))
        if self.way.epoch:
            lines.append(line(EPOCH, b"%d" % self.way.epoch))
        return Answer(problem.status, b"".join(lines), problem.body)

    def next_id(self) -> bytes:
        """An id for a request that came without one."""
        return b"%b-%x" % (self._id_prefix, next(self._ids))

    # ── what is counted and told ──────────────────────────────────────────────────────────────────────────────────────

    def ended(self, request: BotRequest, /) -> None:
        """A request is over, however."""
        took_s = monotonic() - request.began_s
        pool, error = request.pool, request.error
        if pool is not None:
            outcome = Outcome.ANSWERED if error is None else _outcome(error, was_begun=request.has_answered)
            pool.counts.finished(request.status, outcome, took_s)
        elif request.status:
            self._count_unserved(request.status)
        else:
            return  # it never was a whole request; where it was refused for that, `refuse` has told
        if error is not None or self._access_log:
            self._tell(request, error, took_s)

    def _count_unserved(self, status: int) -> None:
        self._counts.unserved[status] = self._counts.unserved.get(status, 0) + 1

    def _tell(self, request: BotRequest, error: Exception | None, took_s: float) -> None:
        """One line: of every request where that is wanted, of those that failed here in any case."""
        event = fields(
            method=request.method.decode(),
            path=request.target.partition(b"?")[0][:200].decode(errors="replace"),
            status=request.status,
            took_s=round(took_s, 6),
            pool="" if request.pool is None else request.pool.route.name,
            request_id=request.request_id.decode(),
            **({} if error is None else {"why": str(error)}),
        )
        is_plain = error is None or isinstance(error, ClientGoneError)
        if is_plain and self._access_log:
            self._log.info("request", extra=event)
        elif is_plain:
            self._refusals.tell(logging.INFO, "request", event, status=request.status)
        elif request.has_answered:
            self._refusals.tell(logging.WARNING, "answer cut off", event, status=request.status)
        else:
            self._refusals.tell(logging.INFO, "request refused", event, status=request.status)


def _outcome(error: Exception, *, was_begun: bool) -> Outcome:
    match error:
        case ClientGoneError():
            return Outcome.CLIENT_GONE
        case DeadlineError():
            return Outcome.DEADLINE
        case CutError() | InvalidAnswerError() if was_begun:
            return Outcome.CUT
        case _:
            return Outcome.FAILED
