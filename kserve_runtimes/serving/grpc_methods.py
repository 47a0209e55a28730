"""Every call with one answer besides `ModelInfer`: health, metadata, the repository as KServe and as Triton have it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from botshard import __version__
from botshard.oip.errors import InvalidInputError
from botshard.oip.grpc_schema import SERVICE, DecodeError, message_class, model_of
from botshard.oip.metadata import EXTENSIONS, repository_index
from botshard.rpc.calls import UnaryCall
from botshard.rpc.server import HandleUnary
from kserve_runtimes.core.asked import Call
from kserve_runtimes.core.errors import DeadlineExceededError, LoadFailedError
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.serving import models
from kserve_runtimes.serving.grpc_front import GrpcFront, fields_of
from kserve_runtimes.serving.grpc_infer import asked_s
from kserve_runtimes.serving.messages import Fields, epoch_of

__all__ = ["AsyncMethods"]

Method: TypeAlias = Callable[[Pool, Any, Fields], Awaitable[dict[str, Any]]]
"""The fields of the answer for a request and its metadata."""


async def _live(_pool: Pool, _request: Any, _fields: Fields) -> dict[str, Any]:
    return {"live": True}


async def _ready(pool: Pool, _request: Any, _fields: Fields) -> dict[str, Any]:
    return {"ready": pool.is_ready}


async def _server_metadata(_pool: Pool, _request: Any, _fields: Fields) -> dict[str, Any]:
    return {"name": "botshard", "version": __version__, "extensions": EXTENSIONS}


async def _model_ready(pool: Pool, request: Any, fields: Fields) -> dict[str, Any]:
    try:
        await models.ready(pool, Call(request.name, request.version or None, epoch_of(fields)))
    except LoadFailedError:
        return {"ready": False}
    return {"ready": True}


async def _model_metadata(pool: Pool, request: Any, fields: Fields) -> dict[str, Any]:
    document, _ = await models.metadata_document(pool, Call(request.name, request.version or None, epoch_of(fields)))
    return document


async def _index(pool: Pool, request: Any, _fields: Fields) -> dict[str, Any]:
    return {"models": repository_index(models.index_entries(pool), ready_only=request.ready)}


async def _load(pool: Pool, request: Any, fields: Fields) -> dict[str, Any]:
    name = model_of(request)
    await models.load(pool, Call(name, None, epoch_of(fields)))
    return {"model_name": name, "isLoaded": True}


async def _unload(pool: Pool, request: Any, fields: Fields) -> dict[str, Any]:
    name = model_of(request)
    await models.unload(pool, Call(name, None, epoch_of(fields)))
    return {"model_name": name, "isUnloaded": True}


_METHODS: Final[dict[str, Method]] = {
    "ServerLive": _live,
    "ServerReady": _ready,
    "ServerMetadata": _server_metadata,
    "ModelReady": _model_ready,
    "ModelMetadata": _model_metadata,
    "RepositoryIndex": _index,
    "RepositoryModelLoad": _load,
    "RepositoryModelUnload": _unload,
}


class AsyncMethods:
    """Runs each call as a task, which ends with its deadline or when its client is gone."""

    def __init__(self, front: GrpcFront) -> None:
        self._front = front
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def handles(self) -> dict[str, HandleUnary]:
        """By full name, what answers it."""
        return {
            f"/{SERVICE}/{name}": self.handle(method, message_class(f"{name}Request"), message_class(f"{name}Response"))
            for name, method in _METHODS.items()
        }

    def handle(self, method: Method, request_class: Any, response_class: Any, /) -> HandleUnary:
        """`method` as what a server calls."""

        def begin(rpc: UnaryCall) -> None:
            task = self._loop.create_task(self._run(rpc, method, request_class, response_class))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            rpc.on_gone = task.cancel

        return begin

    async def _run(self, rpc: UnaryCall, method: Method, request_class: Any, response_class: Any) -> None:
        front = self._front
        fields = fields_of(rpc.metadata)
        try:
            timeout_s = front.pool.timeout_s(asked_s(rpc, fields))
            try:
                request = request_class.FromString(rpc.message)
            except DecodeError as error:
                raise InvalidInputError(None, f"the message is not a {request_class.DESCRIPTOR.name}") from error
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await method(front.pool, request, fields)
            except TimeoutError as error:
                raise DeadlineExceededError(timeout_s) from error
            message = response_class(**answer).SerializeToString()
        except Exception as error:  # noqa: BLE001 - every error has its place in the table of problems
            front.fail(rpc, error, fields)
            return
        front.pool.metrics.count_grpc(2)
        rpc.answer(message, front.trailing(fields))
