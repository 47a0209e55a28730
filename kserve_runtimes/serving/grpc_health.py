"""The standard health service: the server as a whole, the inference service, and each bot by its id.

Asking for the health of a bot does not load it: whoever watches it would keep it in memory for ever.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

from botshard.oip.grpc_schema import SERVICE, DecodeError
from botshard.rpc.calls import StreamCall
from botshard.rpc.codes import Code
from botshard.sharding.ids import BotId
from kserve_runtimes.core.asked import Call
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.serving.messages import Fields, epoch_of

__all__ = ["DESCRIPTOR", "HEALTH", "Health", "HealthCheckRequest", "HealthCheckResponse"]

HEALTH: Final = "grpc.health.v1.Health"
_WATCH_INTERVAL_S: Final = 0.25
_ENDING_S: Final = 1.0
"""How long those who watch may take to be told that the server ends."""
_SERVING: Final = HealthCheckResponse.SERVING
_NOT_SERVING: Final = HealthCheckResponse.NOT_SERVING


class Health:
    """What is well, for those who ask and those who watch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._ending = asyncio.Event()
        self._watching = 0
        self._unwatched = asyncio.Event()
        self._unwatched.set()

    async def check(self, pool: Pool, request: Any, fields: Fields, /) -> dict[str, Any]:
        """The status of a service now. Raises: UnknownBotError and what else `Pool.locate` raises."""
        status = self._own(request.service)
        if status is None:
            entry = await pool.locate(Call(request.service, None, epoch_of(fields)))
            status = _SERVING if entry.slot is not None and not self._ending.is_set() else _NOT_SERVING
        return {"status": status}

    async def watch(self, call: StreamCall, /) -> None:
        """The status of a service now, and again whenever it is another one."""
        try:
            request = HealthCheckRequest.FromString(await call.read() or b"")
        except DecodeError:
            call.fail(Code.INVALID_ARGUMENT, "the message is not a HealthCheckRequest")
            return
        self._watching += 1
        self._unwatched.clear()
        try:
            told = None
            while True:
                is_ending = self._ending.is_set()
                status = self._status(request.service)
                if status != told:
                    await call.write(HealthCheckResponse(status=status).SerializeToString())
                    told = status
                if is_ending:
                    return
                await _within(_WATCH_INTERVAL_S, self._ending)
        finally:
            self._watching -= 1
            if not self._watching:
                self._unwatched.set()

    async def end(self) -> None:
        """Nothing serves from now on; those who watch are told, and their streams end."""
        self._ending.set()
        await _within(_ENDING_S, self._unwatched)

    def _own(self, service: str) -> Any:
        if service not in ("", SERVICE, HEALTH):
            return None
        return _SERVING if self._pool.is_ready and not self._ending.is_set() else _NOT_SERVING

    def _status(self, service: str) -> Any:
        own = self._own(service)
        if own is not None:
            return own
        entry = self._pool.residents.get(BotId(service))
        if entry is None:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return _SERVING if entry.slot is not None and not self._ending.is_set() else _NOT_SERVING


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Until the event, but no longer."""
    # Not wait_for: before Python 3.12 it loses a cancellation that comes together with what it waits for.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
