"""KServe's `ModelServer` over a pool: its endpoints and its gRPC, behind the sockets that are ours."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from botshard.http1.asgi import Application
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.serving.grpc_server import PoolGrpcServer
from kserve_runtimes.serving.messages import json_answer
from kserve_runtimes.serving.repository import BotDataPlane, BotRepository
from kserve_runtimes.serving.sdk import ModelRepositoryExtension, ModelServer, RESTServer, application

__all__ = ["PoolServer"]


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
    """A KServe model server whose models are the bots of a pool; it stands behind `replica_server.py`, which listens.

    Made in two steps, since the first is slow and can be done once for many replicas, before a fork: the constructor
    builds the SDK's application; `bind` gives it a pool.
    """

    def __init__(self) -> None:
        self.repository = BotRepository()
        super().__init__(registered_models=self.repository, workers=1, enable_grpc=False)
        self.dataplane = BotDataPlane(self.repository)
        self.application: Application = _SdkRest(self.dataplane).create_application()

    def bind(self, inference: Inference, /) -> None:
        """Answer for its pool from now on."""
        self.repository.bind(inference)

    def grpc(self, port: int, *, max_body_bytes: int, grace_s: float) -> PoolGrpcServer:
        """A server of gRPC for the pool; it does not listen yet."""
        return PoolGrpcServer(
            port, self.dataplane, self.repository.pool, max_body_bytes=max_body_bytes, grace_s=grace_s
        )


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
