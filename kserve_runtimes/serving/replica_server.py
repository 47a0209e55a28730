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
from kserve_runtimes.core.errors import GrpcUnavailableError
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.late import Imports, Late
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

    def __init__(  # noqa: PLR0913 - each is a setting
        self,
        inference: Inference,
        behind: Behind,
        imports: Imports,
        *,
        grpc_port: int,
        max_body_bytes: int,
        tells_times: bool,
        grace_s: float,
        share: ArtifactShare | None = None,
    ) -> None:
        """Nothing listens until `serve`.

        Args:
            inference: the bots, and the way through them.
            behind: what answers the rest.
            imports: where the import of gRPC takes its turn.
            grpc_port: 0: no gRPC.
            max_body_bytes: the largest body.
            tells_times: whether answers have `Server-Timing`.
            grace_s: how long requests in flight may take once it drains.
            share: what siblings may get; None: nothing.
        """
        self._inference = inference
        self._behind = behind
        self._late_grpc = Late(_import_grpc, imports, name="grpc")
        self._grpc_port = grpc_port
        self._max_body_bytes = max_body_bytes
        self._tells_times = tells_times
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

        Raises: OSError where gRPC's port cannot be bound; GrpcUnavailableError where it is wanted and cannot be had.
        """
        inference, size_bytes = self._inference, self._max_body_bytes
        front = PoolFront(inference, max_body_bytes=size_bytes, tells_times=self._tells_times)
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
        ending = asyncio.create_task(self._grpc.stop(self._grace_s)) if self._grpc is not None else None
        cut_off = await http.drain(self._grace_s)
        if cut_off:
            log.warning("requests cut off", extra=fields(count=cut_off, grace_s=self._grace_s))
        if ending is not None and not await ending:
            log.warning("gRPC calls cut off", extra=fields(grace_s=self._grace_s))
        if self._problem is not None:
            raise self._problem

    def drain(self) -> None:
        """Take no new connection, answer what is in flight, close what is idle."""
        self._stop.set()
        self._behind.end()

    async def _open_grpc(self, on_listening: Callable[[], None]) -> None:
        late = self._late_grpc
        await late.ended()
        if late.value is None:
            raise GrpcUnavailableError(f"gRPC cannot be imported: {late.problem}") from late.problem
        grpc = late.value(self._grpc_port, self._inference, max_body_bytes=self._max_body_bytes)
        grpc.listen()
        self._grpc = grpc
        on_listening()

    def _grpc_opened(self, opening: asyncio.Task[None]) -> None:
        """A replica that was told to serve gRPC and cannot is no replica: `serve` raises why."""
        if not opening.cancelled() and not self._stop.is_set():
            self._problem = opening.exception()
            if self._problem is not None:
                self._stop.set()


def _import_grpc() -> type[PoolGrpcServer]:
    from kserve_runtimes.serving.grpc_server import PoolGrpcServer

    return PoolGrpcServer
