"""KServe's `ModelServer` around a pool: our socket, our event loop, a drain that ends as soon as nothing is left."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from botshard.http1.asgi import Application
from botshard.http1.limits import Limits
from botshard.http1.server import Http1Server
from botshard.logs import fields
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.serving.grpc_server import PoolGrpcServer
from kserve_runtimes.serving.hot import PoolFront
from kserve_runtimes.serving.messages import json_answer
from kserve_runtimes.serving.repository import BotDataPlane, BotRepository
from kserve_runtimes.serving.rest import PoolApplication
from kserve_runtimes.serving.sdk import ModelRepositoryExtension, ModelServer, RESTServer, application
from kserve_runtimes.serving.sharing import ArtifactShare

__all__ = ["PoolServer"]

log = logging.getLogger(__name__)


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
        self._stop: asyncio.Event | None = None
        self._is_draining = False

    async def serve(  # noqa: PLR0913 - each is a setting
        self,
        inference: Inference,
        /,
        *,
        listener: socket.socket,
        grpc_port: int,
        max_body_bytes: int,
        tells_times: bool,
        grace_s: float,
        on_listening: Callable[[], None],
        share: ArtifactShare | None = None,
    ) -> None:
        """Answer requests for a pool on `listener` until `drain`; returns when everything in flight was answered."""
        pool = inference.pool
        self.repository.bind(inference)
        front = PoolFront(inference, max_body_bytes=max_body_bytes, tells_times=tells_times)
        http = Http1Server(
            PoolApplication(pool, self._behind, max_body_bytes=max_body_bytes, share=share),
            recognise=front.recognise,
            refuse=front.refuse,
            limits=Limits(max_body_bytes=max_body_bytes),
        )
        grpc: PoolGrpcServer | None = None
        if grpc_port:
            grpc = PoolGrpcServer(grpc_port, self.dataplane, pool, max_body_bytes=max_body_bytes, grace_s=grace_s)
            await grpc.listen()
        self._stop = stop = asyncio.Event()
        await http.listen([listener])
        on_listening()
        if not self._is_draining:
            await stop.wait()
        cut_off = await http.drain(grace_s)
        if cut_off:
            log.warning("requests cut off", extra=fields(count=cut_off, grace_s=grace_s))
        if grpc is not None:
            await grpc.stop()

    def drain(self) -> None:
        """Take no new connection, answer what is in flight, close what is idle."""
        self._is_draining = True
        if self._stop is not None:
            self._stop.set()


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
