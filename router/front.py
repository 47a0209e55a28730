"""The clients' side: which requests go to a bot, answers of the router's own, and what is counted and told."""

from __future__ import annotations

import logging
import secrets
from bisect import bisect_left
from itertools import count
from time import monotonic

from botshard.http1.answers import Answer, line
from botshard.logs import fields
from botshard.sharding.errors import ShardingError
from router import problems
from router.access.gate import SECRET_FIELDS, Gate
from router.errors import ClientGoneError, CutError, DeadlineError, InvalidAnswerError
from router.forwarding import Forwarding
from router.heads import EPOCH, REQUEST_ID, dropped_with
from router.limits import BodyAccount, Limits
from router.metrics import BUCKETS_S, Outcome, RouterCounts
from router.pools import PoolState
from router.refusals import RefusalLog
from router.request import BotRequest
from router.targets import Target, read_request_target
from router.telemetry.causes import cause_of, cause_of_refusal
from router.telemetry.ended_request import EndedRequest
from router.telemetry.telemetry import Telemetry

__all__ = ["Front"]

_NOBODY = Target("", versioned=False)


class Front:
    """What all requests of clients share. Everything that is not to a bot goes to the application behind."""

    def __init__(
        self,
        way: Forwarding,
        *,
        limits: Limits,
        account: BodyAccount,
        counts: RouterCounts,
        telemetry: Telemetry,
        refusals: RefusalLog,
        gate: Gate | None = None,
    ) -> None:
        """What all requests share.

        Args:
            way: to pools.
            limits: of one request, and of all.
            account: of the bytes that are held.
            counts: of what never has a pool.
            telemetry: is told of each request that somebody wants to know of.
            refusals: is told of what fails.
            gate: what every request passes; None: access control is off.
        """
        self.gate = gate
        self.dropped = dropped_with(frozenset() if gate is None else SECRET_FIELDS)
        """Headers of clients that do not go on to pools."""
        self.way = way
        self.routes = way.routes
        self.limits = limits
        self.account = account
        self._counts = counts
        self.telemetry = telemetry
        self._busiest = telemetry.busiest
        self._refusals = refusals
        self._id_prefix = secrets.token_hex(8).encode()
        self._ids = count(1)

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
        self._counts.refused(status, cause_of_refusal(status))
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

    def ended(self, request: EndedRequest, /) -> None:
        """A request is over, however."""
        took_s = monotonic() - request.began_s
        pool, error = request.pool, request.error
        if pool is not None:
            if error is None:
                self.ended_short(pool, request.bot_id, request.status, took_s)
            else:
                pool.counts.finished(request.status, _outcome(error, was_begun=request.has_answered), took_s)
                pool.counts.failed(cause_of(error))
                self._busiest.failed(request.bot_id)
        elif request.status:
            self._counts.refused(request.status, "unknown" if error is None else cause_of(error))
        else:
            return  # it never was a whole request; where it was refused for that, `refuse` has told
        if error is not None or request.look is not None or request.cold is not None:
            self.telemetry.ended(request, took_s)

    def ended_short(self, pool: PoolState, bot_id: str, status: int, took_s: float, /) -> None:
        """A request has the answer of a pool, whatever that says: what is counted of each.

        It is all that there is to do where nobody wants to know more of a request: `telemetry.is_watching` is false, or
        its `look` gave nothing when the request began; and the request was not cold.
        """
        counts = pool.counts
        counts.buckets[bisect_left(BUCKETS_S, took_s)] += 1
        counts.seconds += took_s
        if status == 200:
            counts.plain += 1
        else:
            counts.answered_otherwise(status)
            if status >= 400:
                self._busiest.failed(bot_id)
            if status >= 500:
                self.telemetry.errors.note(bot_id, pool.route.name, status, "answer_5xx")
        busiest = self._busiest
        busiest.left -= 1
        if busiest.left <= 0:
            busiest.sample(bot_id)


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
