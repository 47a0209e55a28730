"""The reflection service: what a server serves, for clients that have no description of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection

from botshard.rpc.calls import StreamCall
from botshard.rpc.server import HandleStream

__all__ = ["reflection_streams"]

_NAMES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""Two names of one service; clients ask for the first, and for the second if there is none."""


def reflection_streams(services: Iterable[str], /, *, files: Iterable[bytes]) -> dict[str, HandleStream]:
    """The service's methods, by their full names.

    Args:
        services: that are told, besides the reflection itself.
        files: serialized descriptors of the files that define them.
    """
    # In a pool of their own: the process's may hold another file's messages of the same names.
    descriptors = DescriptorPool()
    for file in (*files, reflection_pb2.DESCRIPTOR.serialized_pb):
        descriptors.AddSerializedFile(file)
    servicer = reflection.ReflectionServicer((*services, *_NAMES), pool=descriptors)

    async def requests(call: StreamCall) -> AsyncIterator[object]:
        while (message := await call.read()) is not None:
            yield reflection_pb2.ServerReflectionRequest.FromString(message)

    async def answer(call: StreamCall) -> None:
        async for response in servicer.ServerReflectionInfo(requests(call), None):
            await call.write(response.SerializeToString())

    return {f"/{name}/ServerReflectionInfo": answer for name in _NAMES}
