"""A realtime request that takes longer than its bot usually does goes to a second pool too; the first answer wins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.router.fleet import SLEEPY, Fleet
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Call, Upstream, infer_answer, plain
from tests.waiting import aeventually


@dataclass
class Place:
    """Two pools of a shard behind a router that knows how long the bot takes: some hundredths of a second."""

    router: RunningRouter
    slow: list[Call] = field(default_factory=list)
    """Requests since, in the order that they came in."""
    before: dict[str, float] = field(default_factory=dict)

    async def asked(self, count: int) -> bool:
        return len(self.slow) >= count

    async def hedges(self, result: str) -> float:
        now = await self.router.metric("botshard_router_hedges_total", result=result)
        return now - self.before.get(result, 0)


@contextlib.asynccontextmanager
async def _place(fleet: Fleet, *, hedge: bool = True, sleepy: bool = False) -> AsyncIterator[Place]:
    """A place after some answers; from then on each call is kept for the test to answer."""
    fleet.publish_bots("bot", key=SLEEPY) if sleepy else fleet.publish_bots("bot")
    place: Place | None = None

    async def answer(call: Call) -> None:
        if place is None:
            await asyncio.sleep(0.03)
            await call.write(infer_answer("bot"))
        else:
            place.slow.append(call)
            await call.gone.wait()

    pools = [Upstream(answer), Upstream(answer)]
    for server in pools:
        await server.start()
    urls = [server.url for server in pools]
    fleet.publish_table(*([] if sleepy else urls), sleepy=urls if sleepy else [])
    async with running_router(fleet, hedge=hedge) as router:
        for _ in range(4):
            responses = await asyncio.gather(*(router.infer("bot") for _ in range(16)))
            assert [response.status_code for response in responses] == [200] * 16
        place = Place(router)
        place.before = {result: await place.hedges(result) for result in ("won", "lost", "refused")}
        yield place
    for server in pools:
        await server.stop()


async def test_the_second_pool_answers_for_one_that_hangs(fleet: Fleet) -> None:
    """The client has the second's answer, and the first sees its request go."""
    async with _place(fleet) as place:
        asked = asyncio.create_task(place.router.infer("bot", b"[1]"))
        assert await aeventually(lambda: place.asked(2))
        await place.slow[1].write(infer_answer("bot"))
        response = await asked
        await asyncio.wait_for(place.slow[0].gone.wait(), 5)
        counts = await place.hedges("won"), await place.hedges("lost")
        outstanding = [pool.outstanding for pool in place.router.parts.pools]
    assert response.status_code == 200
    assert [call.body for call in place.slow] == [b"[1]"] * 2
    assert place.slow[0].writer is not place.slow[1].writer
    assert (counts, outstanding) == ((1, 0), [0, 0])


async def test_the_first_pool_may_still_be_the_first_to_answer(fleet: Fleet) -> None:
    """Then the second sees its request go."""
    async with _place(fleet) as place:
        asked = asyncio.create_task(place.router.infer("bot"))
        assert await aeventually(lambda: place.asked(2))
        await place.slow[0].write(infer_answer("bot"))
        response = await asked
        await asyncio.wait_for(place.slow[1].gone.wait(), 5)
        counts = await place.hedges("won"), await place.hedges("lost")
        outstanding = [pool.outstanding for pool in place.router.parts.pools]
    assert response.status_code == 200
    assert (counts, outstanding) == ((0, 1), [0, 0])


@pytest.mark.parametrize("answer", ["reset", "503", "502"])
async def test_a_second_try_that_fails_takes_nothing_from_the_first(fleet: Fleet, answer: str) -> None:
    """Only an answer wins."""
    async with _place(fleet) as place:
        asked = asyncio.create_task(place.router.infer("bot"))
        assert await aeventually(lambda: place.asked(2))
        if answer == "reset":
            place.slow[1].reset()
        else:
            await place.slow[1].write(plain(b'{"error":"no"}', int(answer), x_botshard_epoch="1"))
        assert await aeventually(lambda: _is(place.hedges("lost"), 1))
        await place.slow[0].write(infer_answer("bot"))
        response = await asked
    assert response.status_code == 200
    assert len(place.slow) == 2


async def _is(value: object, wanted: float) -> bool:
    return bool(await value == wanted)  # type: ignore[misc]


@pytest.mark.parametrize("answer", ["reset", "502"])
async def test_a_first_try_that_fails_leaves_the_second(fleet: Fleet, answer: str) -> None:
    """No third try is made: the one that is under way already is the retry."""
    async with _place(fleet) as place:
        asked = asyncio.create_task(place.router.infer("bot"))
        assert await aeventually(lambda: place.asked(2))
        if answer == "reset":
            place.slow[0].reset()
        else:
            await place.slow[0].write(plain(b"dial tcp", 502, content_type="text/plain"))
        assert await aeventually(lambda: _is(place.hedges("won"), 1))
        await place.slow[1].write(infer_answer("bot"))
        response = await asked
        outstanding = [pool.outstanding for pool in place.router.parts.pools]
    assert response.status_code == 200
    assert (len(place.slow), outstanding) == (2, [0, 0])


async def test_where_both_fail_the_request_is_tried_again(fleet: Fleet) -> None:
    """As any other that has failed."""
    async with _place(fleet) as place:
        asked = asyncio.create_task(place.router.infer("bot"))
        assert await aeventually(lambda: place.asked(2))
        place.slow[0].reset()
        assert await aeventually(lambda: _is(place.hedges("won"), 1))
        place.slow[1].reset()
        assert await aeventually(lambda: place.asked(3))
        await place.slow[2].write(infer_answer("bot"))
        response = await asked
    assert response.status_code == 200


async def test_a_client_that_goes_takes_both_along(fleet: Fleet) -> None:
    """Neither pool works on for nobody."""
    async with _place(fleet) as place:
        _, writer = await asyncio.open_connection("127.0.0.1", place.router.port)
        writer.write(b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        assert await aeventually(lambda: place.asked(2))
        writer.transport.abort()
        for call in place.slow:
            await asyncio.wait_for(call.gone.wait(), 5)
        outstanding = [pool.outstanding for pool in place.router.parts.pools]
    assert outstanding == [0, 0]


async def test_second_tries_are_budgeted(fleet: Fleet) -> None:
    """Where everything has become slow, a tenth of the requests and a few a second are asked twice, no more."""
    async with _place(fleet) as place:
        asked = [asyncio.create_task(place.router.infer("bot")) for _ in range(100)]
        assert await aeventually(lambda: place.asked(100))
        assert await aeventually(lambda: _is_over(place.hedges("refused"), 50))
        hedges = len(place.slow) - 100
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    assert 0 < hedges <= 40


async def _is_over(value: object, bound: float) -> bool:
    return bool(await value > bound)  # type: ignore[misc]


@pytest.mark.parametrize("why", ["off", "not realtime", "no inference"])
async def test_other_requests_have_one_try_at_a_time(fleet: Fleet, why: str) -> None:
    """By default, in groups that are not realtime, and what is no inference."""
    async with _place(fleet, hedge=why != "off", sleepy=why == "not realtime") as place:
        path = "/v2/repository/models/bot/load" if why == "no inference" else "/v2/models/bot/infer"
        asked = asyncio.create_task(place.router.client.post(path))
        assert await aeventually(lambda: place.asked(1))
        await asyncio.sleep(0.5)  # many times what the bot takes
        calls = len(place.slow)
        await place.slow[0].write(infer_answer("bot"))
        assert (await asked).status_code == 200
    assert calls == 1
