"""A load of unary gRPC calls: channels of their own connections, and on each some callers that wait for each answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import uvloop
from grpc import aio

from benchmarks.grpc_servers import INFER
from benchmarks.http_load import Load

__all__ = ["ask_once", "run_calls"]


def run_calls(port: int, messages: Sequence[bytes], *, channels: int, callers: int, seconds: float) -> Load:
    """Calls of `ModelInfer` for some time, `channels` x `callers` in flight."""
    load: Load = uvloop.run(_run(port, messages, channels=channels, callers=callers, seconds=seconds))
    return load


def ask_once(port: int, message: bytes) -> bytes | None:
    """The answer to one call; None: there was none."""
    answer: bytes | None = uvloop.run(_ask_once(port, message))
    return answer


async def _ask_once(port: int, message: bytes) -> bytes | None:
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer: bytes = await channel.unary_unary(INFER)(message, timeout=5.0)
        except aio.AioRpcError:
            return None
        return answer


async def _run(port: int, messages: Sequence[bytes], *, channels: int, callers: int, seconds: float) -> Load:
    latencies_s: list[float] = []
    failed = 0
    # Channels of one process would share a connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    opened = [aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(channels)]
    started_s = time.perf_counter()
    until_s = started_s + seconds

    async def call(channel: aio.Channel, first: int) -> None:
        nonlocal failed
        infer = channel.unary_unary(INFER)
        index = first
        before_s = time.perf_counter()
        while before_s < until_s:
            try:
                await infer(messages[index % len(messages)])
            except aio.AioRpcError:
                failed += 1
            after_s = time.perf_counter()
            latencies_s.append(after_s - before_s)
            before_s = after_s
            index += 1

    await asyncio.gather(
        *(call(channel, number) for channel in opened for number in range(callers)),
    )
    took_s = time.perf_counter() - started_s
    for channel in opened:
        await channel.close()
    return Load(len(latencies_s), failed, took_s, sorted(latencies_s))
