"""The short way and the gate: a head that is known by its bytes is let in, counted and refused as any other."""

from __future__ import annotations

import asyncio
import contextlib

from botshard.sharding.ids import BotId
from botshard.store.access_keys import change_keys
from botshard.store.access_limits import AccessLimits, Limit
from router.short import ShortWay
from tests.router.access.test_keys_open_the_router import give_key
from tests.router.access.test_limits_hold import ON, Plain, limit
from tests.router.fleet import Fleet
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Call, infer_answer, upstream
from tests.waiting import aeventually


def taken(router: RunningRouter) -> int:
    """Requests that went the short way."""
    way = router.parts.server.shortcut
    assert isinstance(way, ShortWay)
    return way.taken


async def is_short(router: RunningRouter, client: Plain) -> None:
    """Until this client's requests go the short way."""

    async def goes_short() -> bool:
        before = taken(router)
        return await client.status() == 200 and taken(router) == before + 1

    await aeventually(goes_short)


async def test_a_known_head_is_refused_once_its_key_is_revoked(fleet: Fleet) -> None:
    """It had been let in by its bytes; the pool never saw the key; nothing is in flight at the end."""
    key_id, headers = give_key(fleet)
    fleet.publish_bots("bot")
    limit(fleet, AccessLimits(tenant=Limit(concurrency=2), bot=Limit(concurrency=1), shared_concurrency=1))
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, access=ON) as router, Plain(router.port, "bot", headers) as client:
            await is_short(router, client)
            assert [await client.status() for _ in range(20)] == [200] * 20
            change_keys(fleet.store, lambda keys: keys.without([key_id]))

            async def is_refused() -> bool:
                return await client.status() == 401

            await aeventually(is_refused)
    assert all("authorization" not in call.headers for call in server.calls)


async def test_a_rate_is_counted_once_whichever_way_a_request_goes(fleet: Fleet) -> None:
    """So many are let in as the burst allows, and each refusal is one in the metric."""
    _, headers = give_key(fleet)
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, access=ON) as router, Plain(router.port, "bot", headers) as client:
            await is_short(router, client)
            limit(fleet, AccessLimits(tenant=Limit(0.001, 5)))

            async def is_limited() -> bool:
                return await client.status() == 429

            await aeventually(is_limited)
            metric = "botshard_router_limited_total"
            before = await router.metric(metric, cause="tenant_rate")
            assert before == 1
            assert [await client.status() for _ in range(3)] == [429] * 3
            assert await router.metric(metric, cause="tenant_rate") == 4


async def test_anothers_bot_costs_on_the_short_way_what_an_unknown_one_costs(fleet: Fleet) -> None:
    """Its line is known from its tenant's requests, the head from one's own: still it does not exist, for one token."""
    _, acme = give_key(fleet)
    _, other = give_key(fleet, "other")
    fleet.publish_bots("theirs")
    fleet.publish_bots("ours", tenant="other")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with contextlib.AsyncExitStack() as stack:
            router = await stack.enter_async_context(running_router(fleet, access=ON))
            for bot, headers in (("theirs", acme), ("ours", other)):
                await is_short(router, await stack.enter_async_context(Plain(router.port, bot, headers)))
            prying = await stack.enter_async_context(Plain(router.port, "theirs", other))
            assert await prying.status() == 404
            limit(fleet, AccessLimits(tenant=Limit(0.001, 6), bots={BotId("theirs"): Limit(0.001, 1)}))

            async def statuses() -> list[int]:
                return [await prying.status() for _ in range(8)]

            async def is_limited() -> bool:
                found = await statuses()
                return found[-1] == 429 and found.count(404) in {0, *range(6, 9)}

            await aeventually(is_limited)
            asked = len(server.calls)
            assert 404 not in await statuses()
    assert asked == len(server.calls)


async def test_what_was_granted_goes_along_to_the_long_way(fleet: Fleet) -> None:
    """A request that began short and ends in an error, or whose client leaves, gives back its place."""
    _, headers = give_key(fleet)
    fleet.publish_bots("bot")
    limit(fleet, AccessLimits(bot=Limit(concurrency=1)))
    holding = asyncio.Event()

    async def answer(call: Call) -> None:
        if holding.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await call.gone.wait()
            call.reset()
        else:
            await call.write(infer_answer("bot"))

    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, access=ON) as router:
            async with Plain(router.port, "bot", headers) as leaver, Plain(router.port, "bot", headers) as other:
                await is_short(router, other)
                await is_short(router, leaver)
                holding.set()
                came = len(server.calls)
                waiting = asyncio.create_task(leaver.status())

                async def is_held() -> bool:
                    return len(server.calls) > came

                await aeventually(is_held)
                assert await other.status() == 429
                waiting.cancel()
            holding.clear()
            async with Plain(router.port, "bot", headers) as next_one:

                async def is_free() -> bool:
                    return await next_one.status() == 200

                await aeventually(is_free)
