"""Streams of the standard health service: a status now, and again whenever it is another one, until the server ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from botshard.rpc.calls import StreamCall
from botshard.rpc.codes import Code

__all__ = ["HEALTH", "Watching"]

HEALTH: Final = "grpc.health.v1.Health"
"""The service's name."""
_LOOK_S: Final = 0.25
_ENDING_S: Final = 1.0
"""How long those who watch may take to be told that the server ends."""


class Watching:
    """Who watches, and that it ends."""

    def __init__(self) -> None:
        self._ending = asyncio.Event()
        self._count = 0
        self._unwatched = asyncio.Event()
        self._unwatched.set()

    @property
    def is_ending(self) -> bool:
        """Whether nothing serves any more."""
        return self._ending.is_set()

    async def asked(self, call: StreamCall, /) -> Any | None:
        """What is to be watched; None: that cannot be read, and the caller was told."""
        try:
            return HealthCheckRequest.FromString(await call.read() or b"")
        except DecodeError:
            call.fail(Code.INVALID_ARGUMENT, "the message is not a HealthCheckRequest")
            return None

    async def watch(self, call: StreamCall, status_of: Callable[[], Any], /) -> None:
        """Tell `status_of`, and again whenever it is another one; what it raises ends the watch."""
        self._count += 1
        self._unwatched.clear()
        try:
            told = None
            while True:
                is_last = self.is_ending
                status = status_of()
                if status != told:
                    await call.write(HealthCheckResponse(status=status).SerializeToString())
                    told = status
                if is_last:
                    return
                await _within(_LOOK_S, self._ending)
        finally:
            self._count -= 1
            if not self._count:
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
