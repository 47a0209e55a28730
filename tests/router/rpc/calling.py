"""A router with a gRPC port, called with gRPC's own client, and pools that answer messages."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import grpc

from botshard.oip.grpc_schema import SERVICE, message_class
from botshard.oip.headers import MESSAGE
from tests.router.fleet import Fleet
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import plain
from tests.servers import free_port

__all__ = ["Failed", "Rpc", "answer_of", "infer_message", "message_answer", "rpc_router"]

Request: Final = message_class("ModelInferRequest")
Response: Final = message_class("ModelInferResponse")


@dataclass(frozen=True)
class Failed:
    """How a call failed."""

    code: str
    text: str
    trailing: dict[str, str]


class Rpc:
    """A channel to a router, and the router."""

    def __init__(self, channel: grpc.aio.Channel, router: RunningRouter, port: int) -> None:
        self.channel = channel
        self.router = router
        self.port = port
        self.trailing: dict[str, str] = {}
        """Of the last call that was answered."""

    def begin(self, message: bytes, *, method: str = f"/{SERVICE}/ModelInfer", **more: Any) -> Any:
        """A call that is waited for later, or cancelled."""
        more.setdefault("timeout", 30.0)
        return self.channel.unary_unary(method)(message, **more)

    async def send(self, message: bytes, *, method: str = f"/{SERVICE}/ModelInfer", **more: Any) -> bytes | Failed:
        """The answer's bytes, or how it failed."""
        call = self.begin(message, method=method, **more)
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            return Failed(error.code().name, error.details() or "", _texts(error.trailing_metadata()))
        self.trailing = _texts(await call.trailing_metadata())
        return answer

    async def failure(self, message: bytes, **more: Any) -> Failed:
        """How it failed; it must."""
        found = await self.send(message, **more)
        assert isinstance(found, Failed), found
        return found

    async def call(self, name: str, /, **fields: Any) -> Any:
        """The answer's message of a method of the protocol, or how it failed."""
        message = message_class(f"{name}Request")(**fields).SerializeToString()
        answer = await self.send(message, method=f"/{SERVICE}/{name}")
        return answer if isinstance(answer, Failed) else message_class(f"{name}Response").FromString(answer)


def _texts(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}


@contextlib.asynccontextmanager
async def rpc_router(fleet: Fleet, **more: Any) -> AsyncIterator[Rpc]:
    """A router over the fleet's store that serves gRPC too."""
    port = free_port()
    async with running_router(fleet, grpc_port=port, **more) as router:
        options = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            await channel.channel_ready()
            yield Rpc(channel, router, port)


def infer_message(bot: str, *raw: bytes, version: str = "", request_id: str = "") -> bytes:
    """A request with these raw tensors."""
    request = Request(model_name=bot, model_version=version, id=request_id, raw_input_contents=raw)
    for index, data in enumerate(raw):
        request.inputs.add(name=f"x{index}", datatype="UINT8", shape=[1, len(data)])
    message: bytes = request.SerializeToString()
    return message


def answer_of(bot: str, *raw: bytes) -> bytes:
    """A response with these raw tensors."""
    message: bytes = Response(model_name=bot, model_version="1", raw_output_contents=raw).SerializeToString()
    return message


def message_answer(message: bytes, /) -> bytes:
    """What a pool of ours answers to a message, as bytes of HTTP/1.1."""
    return plain(message, content_type=MESSAGE, x_botshard_epoch="1", x_botshard_bot_version="1")
