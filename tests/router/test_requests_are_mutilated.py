"""Requests and answers, right or wrong, cut, spliced and overwritten at random: the router goes on as before."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from fuzz.mutilation import mutilated
from tests.router.fleet import Fleet
from tests.router.running import running_router
from tests.router.test_odd_cases import POOLS, RIGHT, WRONG
from tests.router.upstreams import Call, upstream
from tests.router.views import connected
from tests.waiting import aeventually

CONNECTIONS = 1_000
AT_ONCE = 20
REQUESTS = [*(case.sent for case in RIGHT.values()), *WRONG.values()]
ANSWERS = [sent for sent, _ in POOLS.values()]
PIECES = (
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b"0\r\n\r\n",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"\xff",
)


def broken(data: bytes, chance: random.Random) -> bytes:
    """The same, changed in up to four places."""
    return mutilated(data, chance, pieces=PIECES, others=REQUESTS, most_bytes=60, times=(0, 1, 1, 2, 4))


async def _speak(port: int, data: bytes, chance: random.Random) -> None:
    """Send it in two pieces, then close one side and read to the end, or go without a word."""
    at, stays = chance.randrange(len(data) + 1), chance.random() < 0.7
    try:
        async with connected(port) as (reader, writer):
            writer.write(data[:at])
            await asyncio.sleep(0)
            writer.write(data[at:])
            if stays:
                writer.write_eof()
                await asyncio.wait_for(reader.read(), 10)
            else:
                writer.transport.abort()
    except (ConnectionError, BrokenPipeError):
        return


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_of_it_stays(fleet: Fleet, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    """No defect in the log, every connection ends, and nothing is in flight or held afterwards."""
    chance = random.Random(seed)

    async def answer(call: Call) -> None:
        sent = chance.choice(ANSWERS)
        await call.write(broken(sent, chance) if chance.random() < 0.2 else sent)
        if chance.random() < 0.3 or (b"length" not in sent and b"chunked" not in sent):
            call.close()

    fleet.publish_bots("bot", "smuggled")
    async with upstream(answer) as server:
        fleet.publish_table(server.url, request_timeout_s=1.0)
        async with running_router(fleet) as router:
            for _ in range(CONNECTIONS // AT_ONCE):
                sent = [broken(chance.choice(REQUESTS), chance) for _ in range(AT_ONCE)]
                await asyncio.gather(*(_speak(router.port, data, chance) for data in sent))

            async def is_idle() -> bool:
                return not any(pool.outstanding for pool in router.parts.pools) and not router.parts.account.held_bytes

            assert await aeventually(is_idle)
            assert (await router.client.get("/v2/health/live")).status_code == 200
    assert len(server.calls) > CONNECTIONS // 20
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
