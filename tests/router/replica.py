"""One replica of a pool as a process: `python -m tests.router.replica FD`; answers after a few milliseconds."""

from __future__ import annotations

import asyncio
import socket
import sys

from tests.router.upstreams import Call, Upstream, infer_answer


async def _answer(call: Call) -> None:
    await asyncio.sleep(0.005)
    await call.write(infer_answer("bot"))


async def _serve(fd: int) -> None:
    replica = Upstream(_answer)
    await replica.start(socket.socket(fileno=fd))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
