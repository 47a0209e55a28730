"""What all calls over gRPC share: their deadlines, and the methods that go to bots."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic

from botshard.http1.alarm import Alarm
from botshard.oip.grpc_schema import SERVICE
from botshard.rpc.calls import UnaryCall
from botshard.rpc.server import HandleUnary
from router.errors import NotReadyError
from router.front import Front
from router.rpc.ask import METHODS, Make
from router.rpc.call import BotCall

__all__ = ["RpcFront"]


class RpcFront:
    """See the module."""

    def __init__(self, front: Front, *, scheme: str = "http") -> None:
        """`scheme`: over what clients come, as `Forwarded` says it."""
        self.front = front
        self.scheme = scheme
        self._in_flight: set[BotCall] = set()
        self.cut_off = 0
        """Calls that the router's end has cut off."""
        self._alarm = Alarm(front.way.loop, due=self._due, act=self._expire)

    def handles(self) -> dict[str, HandleUnary]:
        """The methods that go to bots, as what a server calls."""
        return {f"/{SERVICE}/{name}": self._handle(f"/{SERVICE}/{name}", make) for name, make in METHODS.items()}

    def _handle(self, target: str, make: Make) -> Callable[[UnaryCall], None]:
        return partial(self._begin, target.encode(), make)

    def _begin(self, target: bytes, make: Make, rpc: UnaryCall) -> None:
        BotCall(self, rpc, target).begin(make)

    def began(self, call: BotCall, /) -> None:
        """It is in flight from here on, and expires at its deadline."""
        self._in_flight.add(call)
        self.watch(call.deadline_s)

    def watch(self, deadline_s: float, /) -> None:
        """A call in flight has another deadline."""
        if deadline_s < self._alarm.armed_s:
            self._alarm.arm(deadline_s)

    def ended(self, call: BotCall, /) -> None:
        """It is not in flight any more."""
        self._in_flight.discard(call)

    def cut(self) -> None:
        """The time to answer what is in flight is up."""
        calls = list(self._in_flight)
        self.cut_off += len(calls)
        for call in calls:
            call.failed(NotReadyError("the router is stopping", retry_after_s=1))

    def stop(self) -> None:
        """Nothing is in flight any more."""
        self._alarm.stop()

    def _due(self) -> float:
        return min((call.deadline_s for call in self._in_flight), default=inf)

    def _expire(self) -> None:
        now_s = monotonic()
        for call in [call for call in self._in_flight if call.deadline_s <= now_s]:
            call.expire()
