"""A replica's sockets: the hot path listens first, gRPC and KServe's application come behind it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from botshard.http1.limits import Limits
from botshard.http1.server import Http1Server
from botshard.logs import fields
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.serving.behind import Behind
from kserve_runtimes.serving.hot import PoolFront
from kserve_runtimes.serving.rest import PoolApplication
from kserve_runtimes.serving.sharing import ArtifactShare

if TYPE_CHECKING:
    from kserve_runtimes.serving.grpc_server import PoolGrpcServer

__all__ = ["ReplicaServer"]

log = logging.getLogger(__name__)


class ReplicaServer:
    """Answers for one pool until it is told to drain. Lives on the event loop."""

    def __init__(
        self,
        inference: Inference,
        behind: Behind,
        *,
        grpc_port: int,
        max_body_bytes: int,
        grace_s: float,
        share: ArtifactShare | None = None,
    ) -> None:
        """Nothing listens until `serve`.

        Args:
            inference: the bots, and the way through them.
            behind: what answers the rest.
            grpc_port: 0: no gRPC.
            max_body_bytes: the largest body.
            grace_s: how long requests in flight may take once it drains.
            share: what siblings may get; None: nothing.
        """
        self._inference = inference
        self._behind = behind
        self._grpc_port = grpc_port
        self._max_body_bytes = max_body_bytes
        self._grace_s = grace_s
        self._share = share
        self._stop = asyncio.Event()
        self._grpc: PoolGrpcServer | None = None
        self._problem: BaseException | None = None

    async def serve(self, listener: socket.socket, /, *, on_listening: Callable[[], None]) -> None:
        """Answer on `listener` until `drain`; returns when everything in flight was answered.

        Args:
            listener: a bound socket; closed at the end.
            on_listening: called once everything that was asked for listens, gRPC too.

        Raises: OSError where gRPC's port cannot be bound; SdkUnavailableError where gRPC is wanted and cannot be had.
        """
        inference, size_bytes = self._inference, self._max_body_bytes
        front = PoolFront(inference, max_body_bytes=size_bytes)
        http = Http1Server(
            PoolApplication(inference.pool, self._behind, max_body_bytes=size_bytes, share=self._share),
            recognise=front.recognise,
            refuse=front.refuse,
            limits=Limits(max_body_bytes=size_bytes),
        )
        await http.listen([listener])
        opening: asyncio.Task[None] | None = None
        if self._grpc_port:
            opening = asyncio.create_task(self._open_grpc(on_listening))
            opening.add_done_callback(self._grpc_opened)
        else:
            on_listening()
        await self._stop.wait()
        if opening is not None:
            opening.cancel()  # no effect where gRPC listens; else what it waits for may take long
        cut_off = await http.drain(self._grace_s)
        if cut_off:
            log.warning("requests cut off", extra=fields(count=cut_off, grace_s=self._grace_s))
        if self._grpc is not None:
            await self._grpc.stop()
        if self._problem is not None:
            raise self._problem

    def drain(self) -> None:
        """Take no new connection, answer what is in flight, close what is idle."""
        self._stop.set()
        self._behind.end()

    async def _open_grpc(self, on_listening: Callable[[], None]) -> None:
        server = await self._behind.server()
        grpc = server.grpc(self._grpc_port, max_body_bytes=self._max_body_bytes, grace_s=self._grace_s)
        await grpc.listen()
        self._grpc = grpc
        on_listening()

    def _grpc_opened(self, opening: asyncio.Task[None]) -> None:
        """A replica that was told to serve gRPC and cannot is no replica: `serve` raises why."""
        if not opening.cancelled() and not self._stop.is_set():
            self._problem = opening.exception()
            if self._problem is not None:
                self._stop.set()
