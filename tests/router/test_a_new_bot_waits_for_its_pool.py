"""A bot that was just published has no pool for a moment; who asks for it then is not turned away."""

from __future__ import annotations

import asyncio

from tests.router.fleet import SLEEPY, Fleet
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Call, infer_answer, upstream
from tests.waiting import aeventually


async def test_a_request_waits_until_the_family_has_a_pool(fleet: Fleet) -> None:
    """The table that names a pool comes while the request waits; it is answered as if it had always been there."""

    async def answer(call: Call) -> None:
        await call.write(infer_answer("fresh"))

    async with upstream(answer) as server:
        fleet.publish_bots("other")
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            fleet.publish_bots("fresh", key=SLEEPY)
            asked = asyncio.create_task(router.infer("fresh"))
            await aeventually(lambda: _knows(router, "fresh"))
            assert not asked.done()
            fleet.publish_table(server.url, sleepy=[server.url])
            answered = await asked
    assert answered.status_code == 200


async def _knows(router: RunningRouter, bot: str) -> bool:
    return bot in (await router.client.get("/v2/models")).json()["models"]
