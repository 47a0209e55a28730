"""Second tries are bounded over all requests of a group: what is saved, what is not, and what costs nothing."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.router.fleet import SLEEPY, Fleet
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Call, Upstream, infer_answer, plain, upstream
from tests.waiting import aeventually

GATEWAY_502 = plain(b"dial tcp 127.0.0.1:8080: connect: connection refused", 502, content_type="text/plain")


def _closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"http://127.0.0.1:{found.getsockname()[1]}"


def _spend(router: RunningRouter) -> None:
    """All that is in the budgets."""
    for state in router.parts.pools:
        while state.budget.may_retry():
            pass


async def _reset(call: Call) -> None:
    call.reset()


@pytest.mark.parametrize("cause", ["lost", "no_replica"])
async def test_a_storm_of_failures_is_tried_again_within_the_budget(fleet: Fleet, cause: str) -> None:
    """A quiet group has a hundred tries in ten seconds and a fifth of its requests; whoever gets none has its error."""
    fleet.publish_bots("bot")
    async with upstream(_reset if cause == "lost" else GATEWAY_502) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            responses = await asyncio.gather(*(router.infer("bot") for _ in range(200)))
            retries = await router.metric("botshard_router_retries_total", cause=cause)
            refused = await router.metric("botshard_router_retries_refused_total", cause=cause)
    assert {response.status_code for response in responses} == {502 if cause == "lost" else 503}
    # The storm may take longer than the second after which the oldest tries are forgotten, on a busy machine.
    assert 100 <= retries <= 150
    assert 0 < refused <= 200
    assert len(server.calls) <= 200 + retries


@pytest.mark.parametrize("cause", ["connect", "stale", "misdirected"])
async def test_tries_for_which_nobody_has_worked_are_free(fleet: Fleet, cause: str) -> None:
    """With nothing left in the budget the other pool, a fresh connection or the new table still save the request."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot", epoch=2)) as there:

        async def answer(call: Call) -> None:
            if cause == "stale" and call.nth > 1:
                call.reset()
            elif cause == "misdirected" and len(server.calls) > 1:
                fleet.publish_table(there.url)
                await call.write(plain(b'{"error":"not mine"}', 421, x_botshard_epoch="2"))
            else:
                await call.write(infer_answer("bot"))

        async with upstream(answer) as server:
            fleet.publish_table(*([_closed_port(), there.url] if cause == "connect" else [server.url]))
            async with running_router(fleet, poll_interval_s=60.0) as router:
                assert (await router.infer("bot")).status_code == 200
                _spend(router)
                responses = [await router.infer("bot") for _ in range(3)]
                retries = await router.metric("botshard_router_retries_total", cause=cause)
    assert [response.status_code for response in responses] == [200] * 3
    assert retries >= 1


async def test_every_request_counts_whichever_way_it_goes(fleet: Fleet) -> None:
    """The short way tells the budget of its requests too."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            for _ in range(100):
                assert (await router.infer("bot")).status_code == 200
            budget = next(iter(router.parts.pools)).budget
            granted = 0
            while budget.may_retry():
                granted += 1
    assert granted == 120


async def test_groups_do_not_spend_each_others_budget(fleet: Fleet) -> None:
    """Batch pools that fail leave realtime requests their second try."""
    fleet.publish_bots("bot")
    fleet.publish_bots("sleeper", key=SLEEPY)

    async def answer(call: Call) -> None:
        if len(server.calls) % 2:
            call.reset()
        else:
            await call.write(infer_answer("bot"))

    async with upstream(answer) as server, upstream(_reset) as broken:
        fleet.publish_table(server.url, sleepy=[broken.url])
        async with running_router(fleet) as router:
            await asyncio.gather(*(router.infer("sleeper") for _ in range(100)))
            refused = await router.metric("botshard_router_retries_refused_total", group="sleepy")
            saved = await router.infer("bot")
    assert refused > 0
    assert saved.status_code == 200


async def test_a_budget_survives_new_tables(fleet: Fleet) -> None:
    """A table a second would otherwise be a fresh budget a second."""
    fleet.publish_bots("bot")
    async with upstream(_reset) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            await router.infer("bot")
            _spend(router)
            fleet.publish_table(server.url, _closed_port())

            async def has_it() -> bool:
                return len(router.parts.pools) == 2

            assert await aeventually(has_it)
            granted = [state.budget.may_retry() for state in router.parts.pools]
    assert granted == [False, False]


async def test_a_pause_beyond_the_deadline_is_not_waited_for(fleet: Fleet) -> None:
    """Who has no time left for another try hears why it failed, not that time was up."""
    fleet.publish_bots("bot")
    fleet.publish_table(_closed_port())
    async with running_router(fleet) as router:
        response = await router.infer("bot", x_request_timeout="0.3")
    assert response.status_code == 503
    assert "no connection" in response.json()["error"]


async def test_a_pool_of_two_that_dies_costs_no_request(fleet: Fleet) -> None:
    """With two pools a shard, one killed under load and gone for good: every request is answered."""
    fleet.publish_bots("bot")

    async def answer(call: Call) -> None:
        await asyncio.sleep(0.01)
        await call.write(infer_answer("bot"))

    dying = Upstream(answer)
    await dying.start()
    async with upstream(answer) as server:
        fleet.publish_table(dying.url, server.url)
        async with running_router(fleet) as router:

            async def ask() -> list[int]:
                return [(await router.infer("bot")).status_code for _ in range(25)]

            asking = [asyncio.create_task(ask()) for _ in range(16)]
            assert await aeventually(lambda: _has(dying, 100))
            await dying.stop()
            statuses = [status for some in await asyncio.gather(*asking) for status in some]
    assert statuses == [200] * 400


async def _has(server: Upstream, calls: int) -> bool:
    return len(server.calls) >= calls
