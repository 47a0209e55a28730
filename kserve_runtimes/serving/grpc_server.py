"""gRPC of one replica: the Open Inference Protocol, the health service and reflection on one port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection

from botshard.oip.grpc_schema import FILE, SERVICE
from botshard.rpc.calls import StreamCall
from botshard.rpc.server import RpcServer
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.serving.grpc_front import GrpcFront
from kserve_runtimes.serving.grpc_health import (
    DESCRIPTOR,
    HEALTH,
    Health,
    HealthCheckRequest,
    HealthCheckResponse,
)
from kserve_runtimes.serving.grpc_infer import begin_infer
from kserve_runtimes.serving.grpc_methods import AsyncMethods

__all__ = ["PoolGrpcServer"]

_REFLECTION: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""Two names of one service; clients ask for the first, and for the second if there is none."""


class PoolGrpcServer:
    """The gRPC side of a pool's replica."""

    def __init__(self, port: int, inference: Inference, /, *, max_body_bytes: int) -> None:
        self._port = port
        self._front = front = GrpcFront(inference)
        self._health = Health(inference.pool)
        methods = AsyncMethods(front)
        self._server = RpcServer(
            unary={
                f"/{SERVICE}/ModelInfer": partial(begin_infer, front),
                f"/{HEALTH}/Check": methods.handle(self._health.check, HealthCheckRequest, HealthCheckResponse),
                **methods.handles(),
            },
            streams={
                f"/{HEALTH}/Watch": self._health.watch,
                **{f"/{name}/ServerReflectionInfo": _reflection() for name in _REFLECTION},
            },
            max_message_bytes=max_body_bytes,
        )
        self.bound_port = 0
        """The port that was bound, once `listen` was called."""

    def listen(self) -> None:
        """Bind the port and begin to answer. Raises: OSError."""
        self.bound_port = self._server.listen(f"[::]:{self._port}")

    async def stop(self, grace_s: float, /) -> bool:
        """Take no new call, answer what is in flight; whether that was done within `grace_s`."""
        await self._health.end()
        answered = await self._server.stop(grace_s)
        self._front.stop()
        return answered


def _reflection() -> Callable[[StreamCall], Any]:
    # In a pool of their own: the process's may hold another file's messages of the same names.
    descriptors = DescriptorPool()
    for file in (FILE.SerializeToString(), DESCRIPTOR.serialized_pb, reflection_pb2.DESCRIPTOR.serialized_pb):
        descriptors.AddSerializedFile(file)
    servicer = reflection.ReflectionServicer((SERVICE, HEALTH, *_REFLECTION), pool=descriptors)

    async def requests(call: StreamCall) -> AsyncIterator[Any]:
        while (message := await call.read()) is not None:
            yield reflection_pb2.ServerReflectionRequest.FromString(message)

    async def answer(call: StreamCall) -> None:
        async for response in servicer.ServerReflectionInfo(requests(call), None):
            await call.write(response.SerializeToString())

    return answer
