"""KServe's application, which stands behind all that is answered here, and is imported behind it too.

The SDK takes a second of imports and 100 MiB, and most replicas are never asked for what only it serves. So it is
imported once it disturbs nobody: when the pool is ready and nothing was asked for a moment. Whoever asks for it earlier
begins it and waits. An SDK that cannot be imported takes nothing else down with it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from botshard.http1.asgi import Application, Receive, Scope, Send
from botshard.logs import fields
from kserve_runtimes.core.errors import DeadlineExceededError, SdkUnavailableError
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.late import Imports, Late
from kserve_runtimes.serving.messages import error_answer
from kserve_runtimes.serving.problems import problem_of

if TYPE_CHECKING:
    from kserve_runtimes.serving.server import PoolServer

__all__ = ["Behind"]

log = logging.getLogger(__name__)

_QUIET_S: Final = 0.1
"""Without a request, that is a moment at which importing disturbs nobody."""
_PATIENCE_S: Final = 10.0
"""With a replica that is never quiet: then it begins all the same."""
_WAIT_S: Final = 60.0
"""How long a request waits for it."""
_STATES: Final = ("absent", "importing", "there", "failed")


class _EndingError(Exception):
    """Nobody waits for the import any more."""


class Behind:
    """An ASGI application that waits for KServe's own. Lives on the event loop."""

    def __init__(
        self,
        inference: Inference,
        imports: Imports,
        build: Callable[[], PoolServer],
        *,
        built: PoolServer | None = None,
        may_freeze: Callable[[], bool] = lambda: False,
    ) -> None:
        """Nothing is imported until `begin`, `begin_when_quiet` or a request.

        Args:
            inference: what the SDK's endpoints ask.
            imports: where the import takes its turn.
            build: imports the SDK and builds its server; runs on a thread.
            built: the server, where it was built before (by a zygote).
            may_freeze: whether all that is in memory may be taken out of the garbage collector's sight.
        """
        self._inference = inference
        self._pool = inference.pool
        self._server = built
        self._application: Application | None = None
        self._may_freeze = may_freeze
        self._is_ending = False
        self._late = Late(build, imports, name="sdk")
        self._late.on_end = self._end
        if built is not None:
            self._bind(built)
        self._tell("there" if built is not None else "absent")

    def begin(self) -> None:
        """Import now, unless that has begun already."""
        if self._server is None and not self._late.begun:
            self._late.begin()
            self._tell("importing")

    async def begin_when_quiet(self) -> None:
        """Import as soon as it disturbs nobody, or after a while anyhow. Cancelled without trace."""
        pool = self._pool
        deadline_s = asyncio.get_running_loop().time() + _PATIENCE_S
        taken = -1
        while asyncio.get_running_loop().time() < deadline_s:
            if pool.is_ready and pool.requests_in_flight == 0 and pool.requests_taken == taken:
                break
            taken = pool.requests_taken
            await asyncio.sleep(_QUIET_S)
        self.begin()

    async def server(self) -> PoolServer:
        """KServe's server, once it is there.

        Raises: SdkUnavailableError.
        """
        if self._server is None:
            self.begin()
            await self._late.ended()  # at once, once the replica ends
        if self._server is None:
            raise SdkUnavailableError(_why(self._late.problem))
        return self._server

    def end(self) -> None:
        """The replica ends: whoever waits for the SDK would wait for nothing."""
        self._is_ending = True
        self._late.give_up(_EndingError("this replica ends"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, once there is somebody to pass it to."""
        if self._application is None:
            try:
                async with asyncio.timeout(_WAIT_S):
                    await self.server()
            except SdkUnavailableError as error:
                await error_answer(problem_of(error)).send(send, [])
                return
            except TimeoutError:
                await error_answer(problem_of(DeadlineExceededError(_WAIT_S))).send(send, [])
                return
        application = self._application
        assert application is not None  # noqa: S101 - `server` has returned
        await application(scope, receive, send)

    def _end(self) -> None:
        server = self._late.value
        if self._is_ending:
            return
        if server is None:
            self._tell("failed")
            log.error(
                "KServe's SDK cannot be imported; what only it serves is answered with 503",
                exc_info=self._late.problem,
                extra=fields(problem=_why(self._late.problem)),
            )
            return
        if self._may_freeze():
            gc.freeze()
        self._bind(server)
        self._tell("there")
        log.debug("KServe's application is there")

    def _bind(self, server: PoolServer) -> None:
        server.bind(self._inference)
        self._server, self._application = server, server.application

    def _tell(self, state: str) -> None:
        for each in _STATES:
            self._pool.metrics.sdk.labels(each).set(each == state)


def _why(problem: BaseException | None) -> str:
    return f"{type(problem).__name__}: {problem}" if problem is not None else "it was not made"
