"""What the router answers itself: whether it lives and is ready, what it is, which bots there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, TypeAlias

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from botshard import __version__
from botshard.oip import headers as names
from botshard.oip.grpc_schema import SERVICE, DecodeError, message_class
from botshard.oip.metadata import EXTENSIONS, IndexEntry, repository_index
from botshard.rpc.calls import StreamCall, UnaryCall
from botshard.rpc.server import HandleUnary
from botshard.rpc.watching import HEALTH, Watching
from botshard.sharding.errors import ShardingError
from botshard.sharding.ids import BotId
from router.access.principal import Principal, owned_by
from router.errors import BadRequestError, UnknownBotError
from router.front import Front
from router.problems import problem_of
from router.rpc.metadata import fields_of, trailing_of
from router.rpc.statuses import code_of

__all__ = ["HEALTH", "OwnMethods"]

_NAME: Final = "botshard-router"
_SERVING: Final = HealthCheckResponse.SERVING
_NOT_SERVING: Final = HealthCheckResponse.NOT_SERVING

_Method: TypeAlias = Callable[[Any, "Principal | None"], dict[str, Any]]


class OwnMethods:
    """See the module. A bot's health is that there are pools for it; nobody is asked, so nothing wakes."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._watching = Watching()

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
        return self._front.routes.ready and not self._watching.is_ending

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
        fields = dict(fields_of(call.metadata))
        principal: Principal | None = None

        def status() -> Any:
            nonlocal principal
            if gate is not None and principal is not None:
                principal = gate.still(principal) if monotonic() < principal.until_s else gate.who(fields)
            return self._status(request, principal)

        try:
            request = await self._watching.asked(call)
            if request is None:
                return
            if gate is not None and not self._is_own(request):
                lease = gate.admit_to_listings(gate.who(fields))
                principal = lease.principal
                lease.give_back()
            await self._watching.watch(call, status)
        except ShardingError as error:
            problem = problem_of(error)
            call.fail(code_of(problem.status), str(error), trailing_of(problem.headers))

    async def end(self) -> None:
        """Nothing serves from now on; those who watch are told, and their streams end."""
        await self._watching.end()
