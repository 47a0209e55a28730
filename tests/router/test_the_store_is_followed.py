"""Table and catalog as they change in the store, are damaged there, or cannot be read."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest

from botshard.store.layout import TABLE_CURRENT, catalog_key_of
from router.limits import BodyAccount, Limits
from tests.router.fleet import Fleet, pool
from tests.router.running import running_router
from tests.router.upstreams import infer_answer, upstream
from tests.waiting import aeventually


async def test_a_fresh_publish_is_seen_by_the_first_request(fleet: Fleet) -> None:
    """A bot that is not known yet is looked up before it is denied, however far away the next poll is."""
    fleet.publish_bots("old")
    async with upstream(infer_answer("new")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, poll_interval_s=60.0) as router:
            assert (await router.infer("new")).status_code == 404
            fleet.publish_bots("new")

            async def served() -> bool:
                return (await router.infer("new")).status_code == 200

            started_s = time.monotonic()
            assert await aeventually(served, within_s=2.0)
            assert time.monotonic() - started_s < 1.0
            assert await router.metric("botshard_router_catalog_lookups_total", result="found") == 1


async def test_retiring_and_publishing_again_are_seen(fleet: Fleet) -> None:
    """A retired bot is as unknown as any other name, until it is published again."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:

            async def status_is(status: int) -> bool:
                return (await router.infer("bot")).status_code == status

            assert await status_is(200)
            fleet.publish_bots("bot", retired=True)
            assert await aeventually(lambda: status_is(404), within_s=2.0)
            fleet.publish_bots("bot", version=2)
            assert await aeventually(lambda: status_is(200), within_s=2.0)
            assert (await router.client.get("/admin/bots/bot")).json()["version"] == 2


async def test_a_router_without_a_table_or_catalog_says_what_is_missing(fleet: Fleet) -> None:
    """Live at once; ready and routing only when both are there."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server, running_router(fleet) as router:
        live = await router.client.get("/v2/health/live")
        ready = await router.client.get("/v2/health/ready")
        early = await router.infer("bot")
        unknown = await router.infer("other")
        fleet.publish_table(server.url)

        async def is_ready() -> bool:
            return (await router.client.get("/v2/health/ready")).status_code == 200

        assert await aeventually(is_ready)
        assert (await router.infer("bot")).status_code == 200
    assert (live.status_code, ready.status_code) == (200, 503)
    assert "routing table" in ready.json()["error"]
    for response in (early, unknown):
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("damaged", "field"),
    [
        pytest.param(b"{", "JSON", id="not JSON"),
        pytest.param(b'{"format":"botshard.table/v2"}', "format", id="another format"),
        pytest.param(
            b'{"format":"botshard.table/v1","epoch":9,"groups":{},"families":[{}]}', "families[0]", id="a field"
        ),
    ],
)
async def test_a_bad_table_is_refused_and_the_last_good_one_stays(
    fleet: Fleet, damaged: bytes, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests go on, the refusal is counted once and names the field, and a good table is taken after it."""
    fleet.publish_bots("bot")
    caplog.set_level(logging.INFO)
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            fleet.overwrite(TABLE_CURRENT, damaged)

            async def refused() -> bool:
                return await router.metric("botshard_router_refusals_total", document="table") == 1

            assert await aeventually(refused)
            assert (await router.infer("bot")).status_code == 200
            problems = (await router.client.get("/admin/table")).json()["problems"]
            fleet.publish_table(server.url)

            async def taken() -> bool:
                return await router.metric("botshard_router_table_epoch") == 2

            assert await aeventually(taken)
            assert (await router.client.get("/admin/table")).json()["problems"] == {}
            assert await router.metric("botshard_router_refusals_total", document="table") == 1
    assert field in problems["table"]
    refusals = [record for record in caplog.records if record.message.startswith("refused")]
    assert len(refusals) == 1


async def test_a_table_with_a_pool_that_nobody_can_reach_is_refused_whole(fleet: Fleet) -> None:
    """An address without a host passes for a URL; the router keeps the table that it can follow."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            fleet.publish_table(server.url, "http://:80")

            async def refused() -> bool:
                return await router.metric("botshard_router_refusals_total", document="table") == 1

            assert await aeventually(refused)
            assert await router.metric("botshard_router_table_epoch") == 1
            assert (await router.infer("bot")).status_code == 200
            assert "http://:80" in (await router.client.get("/admin/table")).json()["problems"]["table"]


async def test_an_older_table_is_refused(fleet: Fleet) -> None:
    """The epoch never goes back while a router runs."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url, epoch=5)
        async with running_router(fleet) as router:
            fleet.publish_table("http://127.0.0.1:1", epoch=4)

            async def refused() -> bool:
                return await router.metric("botshard_router_refusals_total", document="table") == 1

            assert await aeventually(refused)
            assert await router.metric("botshard_router_table_epoch") == 5
            assert (await router.infer("bot")).status_code == 200


async def test_a_bad_catalog_object_is_refused_and_its_bots_stay(fleet: Fleet) -> None:
    """The bots of the damaged object are served as before; others still change."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, poll_interval_s=60.0) as router:
            fleet.overwrite(catalog_key_of("bot"), b"damaged")  # type: ignore[arg-type]
            await router.infer("bot-that-is-not")
            router.parts.following._catalog.refresh_bot("bot")  # type: ignore[arg-type]
            await router.parts.following.poll()
            assert (await router.infer("bot")).status_code == 200
            assert await router.metric("botshard_router_refusals_total", document="catalog") == 1


async def test_a_store_that_is_away_stops_nothing(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Known bots are served, unknown ones are 503 and not 404, and away and back are each said once."""
    caplog.set_level(logging.INFO)
    elsewhere = fleet.folder.with_name("elsewhere")
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            fleet.folder.rename(elsewhere)

            async def failures() -> bool:
                return await router.metric("botshard_router_store_failures_total") >= 3

            assert await aeventually(failures)
            known = await router.infer("bot")
            unknown = await router.infer("other")
            ready = await router.client.get("/v2/health/ready")
            problems = (await router.client.get("/admin/table")).json()["problems"]
            elsewhere.rename(fleet.folder)

            async def back() -> bool:
                return (await router.infer("other")).status_code == 404

            assert await aeventually(back)
    assert (known.status_code, unknown.status_code, ready.status_code) == (200, 503, 200)
    assert "store" in problems
    said = [record.message for record in caplog.records if record.message.startswith("store ")]
    assert said == ["store away, what was read last stays in force", "store back"]


async def test_metrics_of_a_pool_leave_with_it(fleet: Fleet) -> None:
    """The series depend on the pools of the table in force, and on no bot."""
    fleet.publish_bots(*(f"bot-{number}" for number in range(50)))
    async with upstream(infer_answer("bot")) as one, upstream(infer_answer("bot")) as two:
        fleet.publish_table(one.url, two.url)
        async with running_router(fleet) as router:
            for number in range(50):
                await router.infer(f"bot-{number}")
            before = (await router.client.get("/metrics")).text
            fleet.publish_table(one.url)

            async def taken() -> bool:
                return await router.metric("botshard_router_table_pools") == 1

            assert await aeventually(taken)
            after = (await router.client.get("/metrics")).text
            assert 50 >= await router.metric("botshard_router_requests_total", pool=pool(0)) > 0
    assert pool(1) in before
    assert pool(1) not in after
    assert "bot-7" not in before


async def test_a_pool_that_moves_keeps_its_requests(fleet: Fleet) -> None:
    """A table with another address for a pool is followed; what is in flight at the old one is answered."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as one, upstream(infer_answer("bot")) as two:
        fleet.publish_table(one.url)
        async with running_router(fleet) as router:
            await router.infer("bot")
            fleet.publish_table(two.url)

            async def moved() -> bool:
                await router.infer("bot")
                return bool(two.calls)

            assert await aeventually(moved)
            assert await router.metric("botshard_router_requests_total", code="5xx") == 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
async def test_an_idle_router_costs_next_to_nothing(fleet: Fleet) -> None:
    """Ten polls of an unchanged store take less than 20 ms of CPU."""
    fleet.publish_bots(*(f"bot-{number}" for number in range(200)))
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet, poll_interval_s=60.0) as router:
        used_s = sum(os.times()[:2])
        for _ in range(10):
            await router.parts.following.poll()
        assert sum(os.times()[:2]) - used_s < 0.02 + 0.03  # the clock's own step is 10 ms
        assert await router.metric("botshard_router_store_failures_total") == 0


def test_what_is_held_is_bounded() -> None:
    """The account refuses what does not fit and is whole again after."""
    account = BodyAccount(10)
    assert account.take(6)
    assert not account.take(5)
    account.give(6)
    assert account.take(10)


async def test_bodies_over_the_limit_are_413(fleet: Fleet) -> None:
    """Announced or not, nothing of it reaches a pool, and the connection still serves."""

    async def pieces() -> object:
        for _ in range(20):
            yield b"x" * 100

    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=Limits(max_body_bytes=1000)) as router:
            exact = await router.infer("bot", b"x" * 1000)
            over = await router.infer("bot", b"x" * 1001)
            chunked = await router.client.post("/v2/models/bot/infer", content=pieces())  # type: ignore[arg-type]
            after = await router.infer("bot")
    assert [response.status_code for response in (exact, over, chunked, after)] == [200, 413, 413, 200]
    assert "1000 bytes" in json.loads(over.text)["error"]
    assert len(server.calls) == 2


async def test_bodies_past_what_may_be_held_are_503(fleet: Fleet) -> None:
    """Memory is bounded whatever clients send."""
    fleet.publish_bots("bot")
    limits = Limits(max_held_bytes=1000, small_body_bytes=100)
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=limits) as router:
            response = await router.infer("bot", b"x" * 1001)
            small = await router.infer("bot", b"x" * 100)
    assert (response.status_code, response.headers["retry-after"], small.status_code) == (503, "1", 200)
