"""What the router answers itself: whether it lives and is ready, what it is, which bots there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeAlias

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from botshard import __version__
from botshard.oip import headers as names
from botshard.oip.grpc_schema import SERVICE, DecodeError, message_class
from botshard.oip.metadata import EXTENSIONS, IndexEntry, repository_index
from botshard.rpc.calls import StreamCall, UnaryCall
from botshard.rpc.codes import Code
from botshard.rpc.server import HandleUnary
from botshard.sharding.errors import ShardingError
from botshard.sharding.ids import BotId
from router.access.principal import Principal, owned_by
from router.errors import BadRequestError, UnknownBotError
from router.front import Front
from router.problems import problem_of
from router.rpc.metadata import fields_of, trailing_of
from router.rpc.statuses import code_of

__all__ = ["HEALTH", "OwnMethods"]

HEALTH: Final = "grpc.health.v1.Health"
_NAME: Final = "botshard-router"
_LOOK_S: Final = 0.25
_ENDING_S: Final = 1.0
"""How long those who watch may take to be told that the server ends."""
_SERVING: Final = HealthCheckResponse.SERVING
_NOT_SERVING: Final = HealthCheckResponse.NOT_SERVING

_Method: TypeAlias = Callable[[Any, "Principal | None"], dict[str, Any]]


class OwnMethods:
    """See the module. A bot's health is that there are pools for it; nobody is asked, so nothing wakes."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._ending = asyncio.Event()
        self._watching = 0
        self._unwatched = asyncio.Event()
        self._unwatched.set()

    def handles(self) -> dict[str, HandleUnary]:
        """Methods with one answer, as what a server calls."""
        methods: Mapping[str, _Method] = {
            "ServerLive": lambda _, __: {"live": True},
            "ServerReady": lambda _, __: {"ready": self._is_ready},
            "ServerMetadata": lambda _, __: {"name": _NAME, "version": __version__, "extensions": EXTENSIONS},
            "RepositoryIndex": self._index,
        }
        found = {
            f"/{SERVICE}/{name}": self._handle(
                method,
                message_class(f"{name}Request"),
                message_class(f"{name}Response"),
                is_open=name != "RepositoryIndex",
            )
            for name, method in methods.items()
        }
        check = self._handle(self._check, HealthCheckRequest, HealthCheckResponse, is_open=False)
        return {**found, f"/{HEALTH}/Check": check}

    def _handle(self, method: _Method, request_class: Any, response_class: Any, *, is_open: bool) -> HandleUnary:
        """`is_open`: it says nothing of any bot, and nobody is asked who asks."""
        front = self._front

        def answer(rpc: UnaryCall) -> None:
            request_id = b""
            try:
                fields = dict(fields_of(rpc.metadata))
                request_id = fields.get(names.REQUEST_ID.encode(), b"")
                try:
                    request = request_class.FromString(rpc.message)
                except DecodeError as error:
                    raise BadRequestError(f"the message is not a {request_class.DESCRIPTOR.name}") from error
                if front.gate is None or is_open or (request_class is HealthCheckRequest and self._is_own(request)):
                    message = response_class(**method(request, None)).SerializeToString()
                else:
                    lease = front.gate.admit_to_listings(front.gate.who(fields))
                    try:
                        message = response_class(**method(request, lease.principal)).SerializeToString()
                    finally:
                        lease.give_back()
            except ShardingError as error:
                problem = problem_of(error)
                rpc.fail(code_of(problem.status), str(error), trailing_of(problem.headers))
                return
            rpc.answer(message, ((names.REQUEST_ID, request_id.decode()),) if request_id else ())

        return answer

    def _index(self, request: Any, principal: Principal | None) -> dict[str, Any]:
        routes = self._front.routes
        entries = []
        for name, bot in sorted(routes.bots.items()):
            if principal is None or owned_by(principal, bot):
                state, reason = ("READY", "") if routes.pools(bot) else ("UNAVAILABLE", "no pool yet")
                entries.append(IndexEntry(name, str(routes.served.of(bot).version), state, reason))
        return {"models": repository_index(entries, ready_only=request.ready)}

    # ── health ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _is_ready(self) -> bool:
        return self._front.routes.ready and not self._ending.is_set()

    @staticmethod
    def _is_own(request: Any) -> bool:
        return request.service in ("", SERVICE, HEALTH)

    def _check(self, request: Any, principal: Principal | None) -> dict[str, Any]:
        status = self._status(request, principal)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            raise UnknownBotError.of(request.service)
        return {"status": status}

    def _status(self, request: Any, principal: Principal | None) -> Any:
        if self._is_own(request):
            return _SERVING if self._is_ready else _NOT_SERVING
        routes = self._front.routes
        bot = routes.find(BotId(request.service))
        if bot is None or (principal is not None and not owned_by(principal, bot)):
            return HealthCheckResponse.SERVICE_UNKNOWN
        return _SERVING if self._is_ready and routes.pools(bot) else _NOT_SERVING

    async def watch(self, call: StreamCall, /) -> None:
        """The status of a service now, and again whenever it is another one."""
        gate = self._front.gate
        principal = None
        fields = dict(fields_of(call.metadata))
        try:
            request = HealthCheckRequest.FromString(await call.read() or b"")
            if gate is not None and not self._is_own(request):
                lease = gate.admit_to_listings(gate.who(fields))
                principal = lease.principal
                lease.give_back()
        except DecodeError:
            call.fail(Code.INVALID_ARGUMENT, "the message is not a HealthCheckRequest")
            return
        except ShardingError as error:
            _refuse(call, error)
            return
        self._watching += 1
        self._unwatched.clear()
        try:
            told = None
            while True:
                is_ending = self._ending.is_set()
                if gate is not None and principal is not None:
                    principal = gate.still(principal) if monotonic() < principal.until_s else gate.who(fields)
                status = self._status(request, principal)
                if status != told:
                    await call.write(HealthCheckResponse(status=status).SerializeToString())
                    told = status
                if is_ending:
                    return
                await _within(_LOOK_S, self._ending)
        except ShardingError as error:
            _refuse(call, error)
        finally:
            self._watching -= 1
            if not self._watching:
                self._unwatched.set()

    async def end(self) -> None:
        """Nothing serves from now on; those who watch are told, and their streams end."""
        self._ending.set()
        await _within(_ENDING_S, self._unwatched)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Until the event, but no longer."""
    # Not wait_for: before Python 3.12 it loses a cancellation that comes together with what it waits for.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _refuse(call: StreamCall, error: ShardingError) -> None:
    problem = problem_of(error)
    call.fail(code_of(problem.status), str(error), trailing_of(problem.headers))
