"""gRPC by KServe's SDK, with the right status codes, and load and unload that answer.

The SDK's interceptor reads a `reason` that some of its own errors do not have, and its servicer indexes the None that
its repository extension returns; both end as INTERNAL or UNKNOWN at the client. Where this replica's own errors come
through, they are told as `problems` says.
"""

from __future__ import annotations

from concurrent import futures
from typing import Any, Final

from grpc import ServicerContext, StatusCode, aio
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import InferRequest
from kserve.utils.utils import to_headers

from botshard.oip import headers
from botshard.sharding.errors import WorldError
from kserve_runtimes.core.pool import Call, Pool
from kserve_runtimes.serving import models
from kserve_runtimes.serving.problems import problem_of
from kserve_runtimes.serving.repository import BotDataPlane
from kserve_runtimes.serving.sdk import InferenceError, InvalidInput, ModelRepositoryExtension

__all__ = ["PoolGrpcServer"]

_CLASS_OF_CODE: Final = {
    StatusCode.OK: 2,
    StatusCode.INVALID_ARGUMENT: 4,
    StatusCode.NOT_FOUND: 4,
    StatusCode.FAILED_PRECONDITION: 4,
    StatusCode.RESOURCE_EXHAUSTED: 4,
}


class _StatusInterceptor(ExceptionToStatusInterceptor):  # type: ignore[misc]
    """Maps errors to codes. The SDK's would log a traceback for each wrong request."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    async def handle_exception(
        self,
        ex: Exception,
        request_or_iterator: Any,  # noqa: ARG002 - the SDK's signature
        context: ServicerContext,
        method_name: str,  # noqa: ARG002
    ) -> None:
        """End the call with the error's code and text."""
        if isinstance(ex, WorldError | TimeoutError):
            problem = problem_of(ex)
            code, text = problem.code, problem.text
        elif isinstance(ex, InvalidInput | InferenceError):
            code, text = StatusCode.INVALID_ARGUMENT, str(ex)
        elif isinstance(ex, NotImplementedError):
            code, text = StatusCode.UNIMPLEMENTED, str(ex) or "not implemented"
        else:
            problem = problem_of(ex)
            code, text = problem.code, problem.text
        self._pool.metrics.count_grpc(_CLASS_OF_CODE.get(code, 5))
        await context.abort(code, text)


class _PoolServicer(InferenceServicer):  # type: ignore[misc]
    """The SDK's servicer over this replica."""

    def __init__(self, plane: BotDataPlane, extension: Any, pool: Pool) -> None:
        super().__init__(plane, extension)
        self._pool = pool

    async def ModelInfer(self, request: Any, context: ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        """One inference, raw or typed."""
        sent = to_headers(context)
        remaining_s = context.time_remaining()
        if remaining_s is not None:
            asked_s = float(sent.get(headers.REQUEST_TIMEOUT, remaining_s))
            sent[headers.REQUEST_TIMEOUT] = str(min(asked_s, remaining_s))
        self._tell(context)
        self.validate_grpc_request(request)
        response, _ = await self._data_plane.infer(
            request=InferRequest.from_grpc(request), headers=sent, model_name=request.model_name
        )
        self._tell(context, version=response.model_version)
        message = response.to_grpc()
        self._pool.metrics.count_grpc(2)
        return message

    async def ModelReady(self, request: Any, context: ServicerContext) -> Any:  # noqa: N802
        """Whether a bot is loaded; an absent one begins to load."""
        self._tell(context)
        entry = await self._pool.locate(Call(request.name))
        self._pool.residents.begin(entry)
        return messages.ModelReadyResponse(ready=entry.slot is not None)

    async def ModelMetadata(self, request: Any, context: ServicerContext) -> Any:  # noqa: N802
        """A bot's inputs and outputs."""
        self._tell(context)
        document = await self._data_plane.model_metadata(request.name)
        return messages.ModelMetadataResponse(**document)

    async def RepositoryModelLoad(self, request: Any, context: ServicerContext) -> Any:  # noqa: N802
        """Load a bot and wait for it."""
        self._tell(context)
        await models.load(self._pool, Call(request.model_name))
        return messages.RepositoryModelLoadResponse(model_name=request.model_name, isLoaded=True)

    async def RepositoryModelUnload(self, request: Any, context: ServicerContext) -> Any:  # noqa: N802
        """Take a bot out of memory."""
        self._tell(context)
        await models.unload(self._pool, Call(request.model_name))
        return messages.RepositoryModelUnloadResponse(model_name=request.model_name, isUnloaded=True)

    def _tell(self, context: ServicerContext, *, version: str | None = None) -> None:
        pairs = [(headers.EPOCH, str(self._pool.epoch)), (headers.POOL, str(self._pool.name))]
        context.set_trailing_metadata((*pairs, *([(headers.BOT_VERSION, version)] if version else [])))


class PoolGrpcServer(GRPCServer):  # type: ignore[misc]
    """The SDK's gRPC server with our servicer and our status codes."""

    def __init__(self, port: int, plane: BotDataPlane, pool: Pool, *, max_body_bytes: int, grace_s: float) -> None:
        extension = ModelRepositoryExtension(model_registry=plane.model_registry)
        super().__init__(port, plane, extension, kwargs={}, grace_period=grace_s)
        self._pool = pool
        self._max_body_bytes = max_body_bytes
        self.bound_port = 0
        """The port that was bound, once `listen` was called."""

    async def listen(self) -> None:
        """Bind the port and begin to answer."""
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", self._max_body_bytes),
        ]
        self._server = aio.server(
            # Only sync handlers would use these threads; all of ours are coroutines.
            futures.ThreadPoolExecutor(1),
            interceptors=(_StatusInterceptor(self._pool),),
            options=options,
        )
        servicer = _PoolServicer(self._data_plane, self._model_repository_extension, self._pool)
        stubs.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        self.bound_port = self._server.add_insecure_port(f"[::]:{self._port}")
        if self.bound_port == 0:
            raise OSError(f"gRPC port {self._port} cannot be bound")
        await self._server.start()
