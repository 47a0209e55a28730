"""gRPC of one replica: the Open Inference Protocol, the health service and reflection on one port."""

from __future__ import annotations

from functools import partial

from botshard.oip.grpc_schema import FILE, SERVICE
from botshard.rpc.reflection import reflection_streams
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
                **reflection_streams((SERVICE, HEALTH), files=(FILE.SerializeToString(), DESCRIPTOR.serialized_pb)),
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
