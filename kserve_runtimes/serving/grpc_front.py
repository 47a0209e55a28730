"""What every gRPC call of a pool has: metadata as REST's headers, statuses by the table of problems, a deadline."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import Any, Final, Protocol

from botshard.http1.alarm import Alarm
from botshard.oip import headers
from botshard.rpc.calls import UnaryCall
from botshard.rpc.codes import Code
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.serving.messages import Fields
from kserve_runtimes.serving.problems import problem_of

__all__ = ["GrpcFront", "Trailing", "fields_of"]

Trailing = tuple[tuple[str, str], ...]

_READ: Final = {name: name.encode() for name in (headers.EPOCH, headers.REQUEST_ID, headers.REQUEST_TIMEOUT)}
_CALLERS_FAULT: Final = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.FAILED_PRECONDITION,
        Code.RESOURCE_EXHAUSTED,
        Code.UNIMPLEMENTED,
    }
)


def fields_of(metadata: Any, /) -> Fields:
    """What a pool reads of a call's metadata, as REST's header fields."""
    return {_READ[key]: value.encode() for key, value in metadata if key in _READ}


class Expiring(Protocol):
    """A call with a deadline."""

    deadline_s: float

    def expire(self) -> None:
        """Tell its client that its time is over."""


class GrpcFront:
    """The pool as gRPC calls see it."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.pool = inference.pool
        self._expiring: set[Expiring] = set()
        self._alarm = Alarm(asyncio.get_running_loop(), due=self._due, act=self._expire)
        self._common: tuple[int, Trailing] = (-1, ())

    def begin(self, call: Expiring, /) -> None:
        """A call is in flight from here on, and expires at its deadline."""
        self.pool.begin_request()
        self._expiring.add(call)
        if call.deadline_s < self._alarm.armed_s:
            self._alarm.arm(call.deadline_s)

    def end(self, call: Expiring, /) -> None:
        """It is not in flight any more."""
        self._expiring.discard(call)
        self.pool.end_request()

    def stop(self) -> None:
        """Nothing is in flight any more."""
        self._alarm.stop()

    def _due(self) -> float:
        return min((call.deadline_s for call in self._expiring), default=inf)

    def _expire(self) -> None:
        now_s = monotonic()
        for call in [call for call in self._expiring if call.deadline_s <= now_s]:
            call.expire()

    def trailing(self, fields: Fields, /, *, version: int | None = None) -> Trailing:
        """The metadata that follows every answer: the epoch, the pool, the bot's version, the id of the request."""
        epoch = self.pool.epoch
        if self._common[0] != epoch:
            self._common = (epoch, ((headers.EPOCH, str(epoch)), (headers.POOL, str(self.pool.name))))
        found = self._common[1]
        if version is not None:
            found = (*found, (headers.BOT_VERSION, str(version)))
        request_id = fields.get(_READ[headers.REQUEST_ID])
        return found if request_id is None else (*found, (headers.REQUEST_ID, request_id.decode()))

    def fail(self, call: UnaryCall, error: Exception, fields: Fields, /) -> None:
        """End a call with an error's status."""
        problem = problem_of(error)
        trailing = self.trailing(fields)
        if problem.retry_after_s is not None:
            trailing = (
                *trailing,
                (headers.RETRY_AFTER, str(problem.retry_after_s)),
                (headers.PUSHBACK, str(problem.retry_after_s * 1000)),
            )
        self.pool.metrics.count_grpc(4 if problem.code in _CALLERS_FAULT else 5)
        call.fail(problem.code, problem.text, trailing)
