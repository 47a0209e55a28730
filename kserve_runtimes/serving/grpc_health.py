"""The standard health service: the server as a whole, the inference service, and each bot by its id.

Asking for the health of a bot does not load it: whoever watches it would keep it in memory for ever.
"""

from __future__ import annotations

from typing import Any, Final

from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

from botshard.oip.grpc_schema import SERVICE
from botshard.rpc.calls import StreamCall
from botshard.rpc.watching import HEALTH, Watching
from botshard.sharding.ids import BotId
from kserve_runtimes.core.asked import Call
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.serving.messages import Fields, epoch_of

__all__ = ["DESCRIPTOR", "HEALTH", "Health", "HealthCheckRequest", "HealthCheckResponse"]

_SERVING: Final = HealthCheckResponse.SERVING
_NOT_SERVING: Final = HealthCheckResponse.NOT_SERVING


class Health:
    """What is well, for those who ask and those who watch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._watching = Watching()

    async def check(self, pool: Pool, request: Any, fields: Fields, /) -> dict[str, Any]:
        """The status of a service now. Raises: UnknownBotError and what else `Pool.locate` raises."""
        status = self._own(request.service)
        if status is None:
            entry = await pool.locate(Call(request.service, None, epoch_of(fields)))
            status = _SERVING if entry.slot is not None and not self._watching.is_ending else _NOT_SERVING
        return {"status": status}

    async def watch(self, call: StreamCall, /) -> None:
        """The status of a service now, and again whenever it is another one."""
        request = await self._watching.asked(call)
        if request is not None:
            await self._watching.watch(call, lambda: self._status(request.service))

    async def end(self) -> None:
        """Nothing serves from now on; those who watch are told, and their streams end."""
        await self._watching.end()

    def _own(self, service: str) -> Any:
        if service not in ("", SERVICE, HEALTH):
            return None
        return _SERVING if self._pool.is_ready and not self._watching.is_ending else _NOT_SERVING

    def _status(self, service: str) -> Any:
        own = self._own(service)
        if own is not None:
            return own
        entry = self._pool.residents.get(BotId(service))
        if entry is None:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return _SERVING if entry.slot is not None and not self._watching.is_ending else _NOT_SERVING
