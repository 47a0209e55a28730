"""The router's gRPC port: calls to bots, the router's own answers, health and reflection."""

from __future__ import annotations

from typing import Any

from grpc_health.v1.health_pb2 import DESCRIPTOR

from botshard.oip.grpc_schema import FILE, SERVICE
from botshard.rpc.reflection import reflection_streams
from botshard.rpc.server import RpcServer
from router.front import Front
from router.rpc.front import RpcFront
from router.rpc.own import HEALTH, OwnMethods

__all__ = ["RouterRpcServer"]


class RouterRpcServer:
    """See the module. `listen` once, `stop` once."""

    def __init__(
        self,
        front: Front,
        *,
        host: str,
        port: int,
        share_port: bool = False,
        credentials: Any = None,
    ) -> None:
        """Nothing is bound yet.

        Args:
            front: what all requests share, whatever they came over.
            host: address to listen on.
            port: 0: any free one.
            share_port: other processes listen on it too.
            credentials: of TLS, as gRPC has them; None: clients come without.
        """
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._credentials = credentials
        self._own = OwnMethods(front)
        self._calls = RpcFront(front, scheme="http" if credentials is None else "https")
        files = (FILE.SerializeToString(), DESCRIPTOR.serialized_pb)
        self._server = RpcServer(
            unary={**self._calls.handles(), **self._own.handles()},
            streams={f"/{HEALTH}/Watch": self._own.watch, **reflection_streams((SERVICE, HEALTH), files=files)},
            max_message_bytes=front.limits.max_body_bytes,
            share_port=share_port,
        )
        self.bound_port = 0
        """The port that was bound, once `listen` was called."""

    def listen(self) -> None:
        """Bind the port and begin to answer. Raises: OSError."""
        self.bound_port = self._server.listen(self._address, self._credentials)

    def abort(self) -> None:
        """Answer nothing that is in flight any more."""
        self._server.abort()

    async def stop(self, grace_s: float, /) -> int:
        """Take no new call, answer what is in flight; how many calls were cut off after `grace_s`."""
        await self._own.end()
        await self._server.stop(grace_s, on_cut=self._calls.cut)
        self._calls.stop()
        return self._calls.cut_off
