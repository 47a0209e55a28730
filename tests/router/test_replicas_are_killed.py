"""Replicas as processes on one socket, killed under load as a crash would."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.router.fleet import Fleet
from tests.router.running import RunningRouter, running_router

ROOT = Path(__file__).resolve().parents[2]
_PER_S = 50


def _replica(listening: socket.socket) -> subprocess.Popen[bytes]:
    fd = listening.fileno()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.router.replica", str(fd)], pass_fds=(fd,), cwd=ROOT, env=environ
    )


async def _ask_steadily(router: RunningRouter, seconds: float) -> list[int]:
    asked = []
    for _ in range(round(seconds * _PER_S)):
        asked.append(asyncio.create_task(router.infer("bot")))
        await asyncio.sleep(1 / _PER_S)
    return [response.status_code for response in await asyncio.gather(*asked)]


async def test_no_request_is_lost_while_replicas_are_killed(fleet: Fleet) -> None:
    """Two replicas share a pool's socket; one at a time is killed and started again at 50 requests a second."""
    fleet.publish_bots("bot")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        replicas = [_replica(listening), _replica(listening)]
        try:
            fleet.publish_table(f"http://127.0.0.1:{listening.getsockname()[1]}", request_timeout_s=15.0)
            async with running_router(fleet) as router:
                assert (await router.infer("bot")).status_code == 200
                load = asyncio.create_task(_ask_steadily(router, 3.0))
                for index in (0, 1, 0):
                    await asyncio.sleep(0.7)
                    replicas[index].kill()
                    replicas[index].wait()
                    replicas[index] = _replica(listening)
                statuses = await load
        finally:
            for replica in replicas:
                replica.kill()
                replica.wait()
    assert statuses == [200] * len(statuses)


async def test_no_request_is_lost_while_a_pool_of_one_is_killed(fleet: Fleet) -> None:
    """With a single replica requests wait in the socket's queue for the next process."""
    fleet.publish_bots("bot")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        replica = _replica(listening)
        try:
            fleet.publish_table(f"http://127.0.0.1:{listening.getsockname()[1]}", request_timeout_s=15.0)
            async with running_router(fleet) as router:
                assert (await router.infer("bot")).status_code == 200
                load = asyncio.create_task(_ask_steadily(router, 1.5))
                await asyncio.sleep(0.5)
                replica.kill()
                replica.wait()
                replica = _replica(listening)
                statuses = await load
        finally:
            replica.kill()
            replica.wait()
    assert statuses == [200] * len(statuses)
