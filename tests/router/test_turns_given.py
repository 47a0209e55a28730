"""Whether waiting for a turn is of use, by the pace at which turns are given."""

from __future__ import annotations

import asyncio

import pytest

from router.limits import Limits
from router.turns_given import TurnsGiven
from tests.router.fleet import Fleet
from tests.router.running import running_router
from tests.router.upstreams import Call, infer_answer, upstream


def test_who_would_come_too_late_is_told_by_how_much() -> None:
    """Ten turns a second: two seconds are enough for some fifteen, and not for thirty."""
    turns = TurnsGiven()
    for number in range(20):
        turns.given(number * 0.1, others_wait=True)
    assert turns.pace_s == pytest.approx(0.1)
    assert turns.late_by_s(14, 2.0) == 0.0
    assert turns.late_by_s(29, 2.0) == pytest.approx(3.0 - 1.6)


def test_a_time_without_waiting_says_nothing() -> None:
    """Turns an hour apart because nobody waited do not make a queue slow; the first to wait is never too late."""
    turns = TurnsGiven()
    turns.given(0.0, others_wait=True)
    turns.given(0.1, others_wait=False)
    turns.given(3600.0, others_wait=False)
    assert turns.pace_s == pytest.approx(0.1)
    assert turns.late_by_s(0, 0.001) == 0.0


async def test_who_cannot_be_served_in_time_is_told_at_once(fleet: Fleet) -> None:
    """A pool that does one request after another, and many with little time: some are answered, none waits in vain."""

    async def answer(call: Call) -> None:
        await asyncio.sleep(0.05)
        await call.write(infer_answer("bot"))

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=Limits(max_connections_per_pool=1)) as router:
            await asyncio.gather(*(router.infer("bot", b"{}") for _ in range(8)))  # the pace is known
            asked = [router.infer("bot", b"{}", x_request_timeout="0.8") for _ in range(60)]
            answers = await asyncio.gather(*asked)
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) >= 4
    assert statuses.count(503) >= 20
    turned_away = [answer for answer in answers if answer.status_code == 503]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in turned_away)
