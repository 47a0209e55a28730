"""KServe's `ModelServer` around a pool: our socket, our event loop, a drain that ends as soon as nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final

import uvicorn
import uvicorn.lifespan.off  # uvicorn would import it by name after a fork, in every replica
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from botshard.logs import fields
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.serving.grpc_server import PoolGrpcServer
from kserve_runtimes.serving.messages import json_answer
from kserve_runtimes.serving.repository import BotDataPlane, BotRepository
from kserve_runtimes.serving.rest import Application, PoolApplication
from kserve_runtimes.serving.sdk import ModelRepositoryExtension, ModelServer, RESTServer, application

__all__ = ["PoolServer"]

log = logging.getLogger(__name__)

_KEEP_ALIVE_S: Final = 75
"""Longer than any client or gateway keeps an idle connection, so that it is never the server that closes it first."""
_BACKLOG: Final = 1024
_DRAIN_POLL_S: Final = 0.01
_FIRST_REQUEST_S: Final = 0.25
"""How long a connection that was just made may take to send its request once the replica is told to end."""


class _DrainingServer(uvicorn.Server):
    """Uvicorn that ends by an event instead of signals and polling, and waits for nothing that is idle."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = asyncio.Event()
        self._on_listening = on_listening

    def stop(self) -> None:
        """End, once what is in flight was answered."""
        self.should_exit = True
        self._stop.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are `main`'s."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept from now on, and say so."""
        await super().startup(sockets)
        self._on_listening()

    async def main_loop(self) -> None:
        """Only the date header needs a tick."""
        while not self._stop.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is idle at once, answer what is in flight, cut off what is still there after the grace."""
        for server in self.servers:
            server.close()
        # Only this process's end: siblings that share the socket go on accepting.
        for sock in sockets or []:
            sock.close()
        loop = asyncio.get_running_loop()
        grace_s = self.config.timeout_graceful_shutdown or 0
        deadline_s = loop.time() + grace_s
        expecting_until_s = loop.time() + _FIRST_REQUEST_S
        while self.server_state.connections or self.server_state.tasks:
            # First let the loop read what has arrived already: those requests were sent before anybody could know.
            await asyncio.sleep(_DRAIN_POLL_S)
            for connection in list(self.server_state.connections):
                if getattr(connection, "cycle", None) is not None or loop.time() > expecting_until_s:
                    connection.shutdown()
            if loop.time() > deadline_s:
                log.warning("requests cut off", extra=fields(count=len(self.server_state.tasks), grace_s=grace_s))
                for task in list(self.server_state.tasks):
                    task.cancel()
                return


class _SdkRest(RESTServer):  # type: ignore[misc]
    """The SDK's REST endpoints, put on its application, which stands behind ours."""

    def __init__(self, plane: BotDataPlane) -> None:
        super().__init__("kserve.model_server:app", plane, ModelRepositoryExtension(plane.model_registry), http_port=0)

    def create_application(self) -> Any:
        """The application with the SDK's routes, whose every error reads `{"error": ...}`."""
        super().create_application()
        application.add_exception_handler(HTTPException, _http_error)
        application.add_exception_handler(RequestValidationError, _validation_error)
        return application


class PoolServer(ModelServer):  # type: ignore[misc]
    """A KServe model server whose models are the bots of a pool.

    Made in two steps, since the first is slow and can be done once for many replicas, before a fork: the constructor
    builds the SDK's application; `serve` binds it to a pool and a socket.
    """

    def __init__(self) -> None:
        self.repository = BotRepository()
        super().__init__(registered_models=self.repository, workers=1, enable_grpc=False)
        self.dataplane = BotDataPlane(self.repository)
        self._behind: Application = _SdkRest(self.dataplane).create_application()
        self._http: _DrainingServer | None = None
        self._is_draining = False
        self._grpc: PoolGrpcServer | None = None

    async def serve(
        self,
        pool: Pool,
        /,
        *,
        listener: socket.socket,
        grpc_port: int,
        max_body_bytes: int,
        grace_s: float,
        on_listening: Callable[[], None],
    ) -> None:
        """Answer requests for `pool` on `listener` until `drain`; returns when everything in flight was answered."""
        self.repository.bind(pool)
        config = uvicorn.Config(
            PoolApplication(pool, self._behind, max_body_bytes=max_body_bytes),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http=HttpToolsProtocol,
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(grace_s)),
        )
        self._http = _DrainingServer(config, on_listening)
        if grpc_port:
            self._grpc = PoolGrpcServer(grpc_port, self.dataplane, pool, max_body_bytes=max_body_bytes, grace_s=grace_s)
            await self._grpc.listen()
        if self._is_draining:
            self._http.stop()
        await self._http.serve(sockets=[listener])
        if self._grpc is not None:
            await self._grpc.stop()

    def drain(self) -> None:
        """Take no new connection, answer what is in flight, close what is idle."""
        self._is_draining = True
        if self._http is not None:
            self._http.stop()


async def _http_error(_: Any, error: Exception) -> Any:
    from starlette.responses import Response

    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = str(getattr(error, "detail", error))
    answer = json_answer({"error": detail}, status=status)
    headers = dict(getattr(error, "headers", None) or {})
    return Response(answer.body, status, headers=headers, media_type="application/json")


async def _validation_error(_: Any, error: Exception) -> Any:
    from starlette.responses import Response

    answer = json_answer({"error": f"the request is not valid: {error}"}, status=HTTPStatus.BAD_REQUEST)
    return Response(answer.body, HTTPStatus.BAD_REQUEST, media_type="application/json")
