"""Pools that fail are left alone and come back, new ones get their share slowly, silent ones are probed."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from botshard.sharding.groups import RoutePolicy
from botshard.sharding.ids import Epoch, PoolName
from botshard.store.reports import ReplicaReport, write_report
from router.health import HealthRules
from router.probing import ProbeRules
from router.settings import Settings
from tests.router.fleet import SLEEPY, Fleet, pool
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Call, Upstream, infer_answer, plain, upstream
from tests.waiting import aeventually

NO_REPLICA = plain(b"no healthy upstream", 503, content_type="text/plain")
LONG = HealthRules(failures=3, base_s=60.0, slow_start_s=0.0)
"""Nothing comes back by time alone while a test runs."""


class Sick:
    """A pool that has no replica while it is sick."""

    def __init__(self) -> None:
        self.is_sick = True

    async def answer(self, call: Call) -> None:
        await call.write(NO_REPLICA if self.is_sick else infer_answer("bot"))


def _asked(server: Upstream) -> int:
    return sum(call.path.endswith("/infer") for call in server.calls)


def _probed(server: Upstream) -> int:
    return sum(call.path == "/v2/health/ready" for call in server.calls)


async def _ask(router: RunningRouter, times: int) -> None:
    for _ in range(times):
        assert (await router.infer("bot")).status_code == 200


async def _standing(router: RunningRouter, name: PoolName) -> dict[str, object]:
    pools = (await router.client.get("/admin/table")).json()["pools"]
    found: dict[str, object] = next(entry["health"] for entry in pools if entry["name"] == name)
    return found


async def test_a_pool_without_a_replica_is_left_alone_and_no_request_fails(fleet: Fleet) -> None:
    """After three requests that another pool had to answer it is asked no more; metrics and /admin say so."""
    fleet.publish_bots("bot")
    async with upstream(Sick().answer) as sick, upstream(infer_answer("bot")) as well:
        fleet.publish_table(sick.url, well.url)
        async with running_router(fleet, health=LONG) as router:
            await _ask(router, 20)
            standing = await _standing(router, pool(0))
            explained = (await router.client.get("/admin/bots/bot")).json()
            ejections = await router.metric("botshard_router_ejections_total", pool=pool(0), why="failures")
            ejected = [await router.metric("botshard_router_ejected", pool=pool(number)) for number in (0, 1)]
    assert (_asked(sick), _asked(well)) == (3, 20)
    assert standing["state"] == "ejected"
    assert "in a row" in str(standing["why"])
    assert [entry["health"]["state"] for entry in explained["pools"]] == ["ejected", "healthy"]
    assert (ejections, ejected) == (1, [1, 0])


async def test_an_ejected_pool_comes_back_after_its_time(fleet: Fleet) -> None:
    """Without any probe: it is asked again, answers, and has all of its share."""
    fleet.publish_bots("bot")
    patient = Sick()
    rules = HealthRules(failures=3, base_s=0.3, slow_start_s=0.2)
    async with upstream(patient.answer) as sick, upstream(infer_answer("bot")) as well:
        fleet.publish_table(sick.url, well.url)
        async with running_router(fleet, health=rules) as router:
            await _ask(router, 3)
            assert await router.metric("botshard_router_ejections_total", pool=pool(0)) == 1
            patient.is_sick = False
            before = _asked(sick)

            async def is_back() -> bool:
                await _ask(router, 1)
                return _asked(sick) > before and (await _standing(router, pool(0)))["state"] == "healthy"

            assert await aeventually(is_back)
            assert await router.metric("botshard_router_returns_total", pool=pool(0)) == 1


async def test_a_probe_brings_an_ejected_pool_back_early(fleet: Fleet) -> None:
    """A minute before its time, as soon as it says that it is ready."""
    fleet.publish_bots("bot")
    patient = Sick()
    async with upstream(patient.answer) as sick, upstream(infer_answer("bot")) as well:
        fleet.publish_table(sick.url, well.url)
        async with running_router(fleet, health=LONG, probes=ProbeRules(ejected_s=0.05)) as router:
            await _ask(router, 5)

            async def is_probed() -> bool:
                router.parts.prober.look()
                return _probed(sick) >= 2

            assert await aeventually(is_probed)
            assert (await _standing(router, pool(0)))["state"] == "ejected"
            patient.is_sick = False

            async def is_back() -> bool:
                router.parts.prober.look()
                return (await _standing(router, pool(0)))["state"] == "healthy"

            assert await aeventually(is_back)
            before = _asked(sick)
            await _ask(router, 3)
    assert _asked(sick) == before + 3


async def test_a_shard_whose_only_pool_fails_keeps_it(fleet: Fleet) -> None:
    """There is nobody else: it is asked however often it has failed, and answers as soon as it can."""
    fleet.publish_bots("bot")
    patient = Sick()
    async with upstream(patient.answer) as sick:
        fleet.publish_table(sick.url)
        async with running_router(fleet, health=LONG) as router:
            assert (await router.infer("bot", x_request_timeout="0.5")).status_code in (503, 504)
            patient.is_sick = False
            await _ask(router, 1)
            assert await router.metric("botshard_router_ejections_total") == 0


async def test_where_all_pools_fail_all_are_used(fleet: Fleet) -> None:
    """Ejected one by one, and the first that is back answers without waiting for its time."""
    fleet.publish_bots("bot")
    one, other = Sick(), Sick()
    async with upstream(one.answer) as first, upstream(other.answer) as second:
        fleet.publish_table(first.url, second.url)
        async with running_router(fleet, health=LONG) as router:
            assert (await router.infer("bot")).status_code == 503
            assert await router.metric("botshard_router_ejected") == 2
            other.is_sick = False
            await _ask(router, 3)
            assert await router.metric("botshard_router_ejected") == 1


async def test_no_request_is_lost_while_pools_of_two_are_ended_in_turns(fleet: Fleet) -> None:
    """Each is ejected when its connections are refused, and comes back by a probe before the other one ends."""
    fleet.publish_bots("bot")
    pools = [Upstream(lambda call: call.write(infer_answer("bot"))) for _ in range(2)]
    for server in pools:
        await server.start()
    fleet.publish_table(*(server.url for server in pools), request_timeout_s=15.0)
    asked: list[asyncio.Task[httpx.Response]] = []
    async with running_router(fleet, health=LONG, probes=ProbeRules(ejected_s=0.05)) as router:

        async def has_ejected(count: int) -> bool:
            asked.extend(asyncio.create_task(router.infer("bot")) for _ in range(5))
            await asyncio.gather(*asked[-5:])
            router.parts.prober.look()
            return await router.metric("botshard_router_ejected") == count

        for server in (*pools, *pools):
            await server.stop()
            if server is pools[0]:  # the other one is asked only where the first has something in flight, or is ended
                assert await aeventually(lambda: has_ejected(1))
            await server.start()
            assert await aeventually(lambda: has_ejected(0))
        statuses = [response.status_code for response in await asyncio.gather(*asked)]
    for server in pools:
        await server.stop()
    assert statuses == [200] * len(statuses)


async def test_a_pool_that_fails_more_than_the_others_is_left_alone(fleet: Fleet) -> None:
    """Every second request finds no replica, never many in a row: the comparison of a window finds it."""
    fleet.publish_bots("bot")
    turn = 0

    async def answer(call: Call) -> None:
        nonlocal turn
        turn += 1
        await call.write(NO_REPLICA if turn % 2 else infer_answer("bot"))

    rules = HealthRules(failures=5, base_s=60.0, window_s=1.0, outlier_requests=10)
    async with upstream(answer) as flapping, upstream(infer_answer("bot")) as well:
        fleet.publish_table(flapping.url, well.url)
        async with running_router(fleet, health=rules) as router:

            async def is_ejected() -> bool:
                await _ask(router, 10)
                router.parts.prober.look()
                return await router.metric("botshard_router_ejections_total", pool=pool(0), why="outlier") == 1

            assert await aeventually(is_ejected)


async def test_a_pool_that_takes_requests_and_says_nothing_is_probed_and_left_alone(fleet: Fleet) -> None:
    """Requests that wait say nothing of a pool whose bots may be slow; three probes without an answer do."""
    fleet.publish_bots("bot")

    async def silence(call: Call) -> None:
        await call.gone.wait()

    probes = ProbeRules(silent_s=0.05, within_s=0.1)
    async with upstream(silence) as silent, upstream(infer_answer("bot")) as well:
        fleet.publish_table(silent.url, well.url, request_timeout_s=15.0)
        async with running_router(fleet, health=LONG, probes=probes) as router:
            waiting = asyncio.create_task(router.infer("bot"))

            async def is_ejected() -> bool:
                router.parts.prober.look()
                return await router.metric("botshard_router_ejections_total", pool=pool(0), why="probes") == 1

            assert await aeventually(is_ejected)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            before = _asked(silent)
            await _ask(router, 3)
    assert _probed(silent) >= 3
    assert _asked(silent) == before


async def test_only_realtime_pools_are_probed(fleet: Fleet) -> None:
    """A probe would wake the others."""
    fleet.publish_bots("bot")
    fleet.publish_bots("drowsy", key=SLEEPY)
    async with upstream(infer_answer("bot")) as awake, upstream(infer_answer("drowsy")) as asleep:
        fleet.publish_table(awake.url, sleepy=[asleep.url])
        async with running_router(fleet, probes=ProbeRules(idle_s=0.05)) as router:

            async def is_probed() -> bool:
                router.parts.prober.look()
                return _probed(awake) >= 5

            assert await aeventually(is_probed)
            assert (await router.infer("drowsy")).status_code == 200
            before = _probed(awake)

            async def is_probed_again() -> bool:
                router.parts.prober.look()
                return _probed(awake) >= before + 5

            assert await aeventually(is_probed_again)
    assert _probed(asleep) == 0


async def test_no_more_than_so_many_probes_are_under_way(fleet: Fleet) -> None:
    """Pools that do not answer do not let probes pile up."""
    fleet.publish_bots("bot")

    async def silence(call: Call) -> None:
        await call.gone.wait()

    async with upstream(silence) as silent:
        fleet.publish_table(*[silent.url] * 6)
        async with running_router(fleet, probes=ProbeRules(idle_s=0.01, within_s=30.0, most=2)) as router:

            async def is_probed() -> bool:
                router.parts.prober.look()
                return _probed(silent) >= 2

            assert await aeventually(is_probed)
            for _ in range(20):
                await asyncio.sleep(0.02)
                router.parts.prober.look()
            assert _probed(silent) == 2


@pytest.mark.parametrize(("slow_start_s", "least", "most"), [(60.0, 5, 60), (0.0, 200, 200)], ids=["slow", "at once"])
async def test_a_new_pool_gets_its_share_slowly(fleet: Fleet, slow_start_s: float, least: int, most: int) -> None:
    """First in its shard's order it would have all of 200 requests; it has a tenth of them at first."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as old, upstream(infer_answer("bot")) as new:
        fleet.publish_table(old.url)
        async with running_router(fleet, health=HealthRules(slow_start_s=slow_start_s)) as router:
            await _ask(router, 1)
            fleet.publish_table(old.url, new.url, order=(1, 0))
            assert await aeventually(lambda: _has_epoch(router, 2))
            await _ask(router, 200)
            standing = await _standing(router, pool(1))
    assert least <= _asked(new) <= most
    assert _asked(new) + _asked(old) == 201
    assert standing["state"] == ("slow start" if slow_start_s else "healthy")


async def test_the_share_of_a_new_pool_becomes_the_whole(fleet: Fleet) -> None:
    """Once its slow start is over."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as old, upstream(infer_answer("bot")) as new:
        fleet.publish_table(old.url)
        async with running_router(fleet, health=HealthRules(slow_start_s=0.5)) as router:
            await _ask(router, 1)
            fleet.publish_table(old.url, new.url, order=(1, 0))

            async def has_all() -> bool:
                before = _asked(new)
                await _ask(router, 20)
                return _asked(new) == before + 20

            assert await aeventually(has_all)


async def test_pools_of_the_first_table_have_their_share_at_once(fleet: Fleet) -> None:
    """A router that starts knows no pool; none of them is new."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as first, upstream(infer_answer("bot")) as second:
        fleet.publish_table(first.url, second.url)
        async with running_router(fleet) as router:
            await _ask(router, 30)
    assert (_asked(first), _asked(second)) == (30, 0)


async def test_a_group_may_choose_by_response_time(fleet: Fleet) -> None:
    """The pool that is first in order and slow is left for the quick one."""
    fleet.publish_bots("bot")

    async def slowly(call: Call) -> None:
        await asyncio.sleep(0.3)
        await call.write(infer_answer("bot"))

    async with upstream(slowly) as slow, upstream(infer_answer("bot")) as quick:
        fleet.publish_table(slow.url, quick.url, policy=RoutePolicy.RESPONSE_TIME)
        async with running_router(fleet) as router:
            await _ask(router, 20)
            explained = (await router.client.get("/admin/bots/bot")).json()
    assert (_asked(slow), _asked(quick)) == (1, 19)
    assert explained["policy"] == "response-time"
    assert explained["pools"][0]["health"]["answersInS"] > explained["pools"][1]["health"]["answersInS"]


async def test_a_group_may_choose_by_free_gpu_memory(fleet: Fleet) -> None:
    """What the replicas of each pool report; where nobody does, the order is as ever."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as full, upstream(infer_answer("bot")) as roomy:
        fleet.publish_table(full.url, roomy.url, policy=RoutePolicy.DEVICE_MEMORY)
        async with running_router(fleet) as router:
            await _ask(router, 3)
            assert (_asked(full), _asked(roomy)) == (3, 0)
            for number, replica, free in ((0, "a", 1 << 30), (1, "b", 30 << 30), (1, "c", 20 << 30)):
                write_report(fleet.store, _report(pool(number), replica, free))
            await router.parts.device_memory.look()
            await _ask(router, 3)
            standing = await _standing(router, pool(1))
    assert (_asked(full), _asked(roomy)) == (3, 3)
    assert standing["deviceFreeBytes"] == 20 << 30


def _report(name: PoolName, replica: str, free_bytes: int) -> ReplicaReport:
    return ReplicaReport(
        pool=name, replica=replica, epoch=Epoch(1), catalog_revision=1, ready=True, warmed_epoch=Epoch(1),
        at_s=time.time(), resident_bytes=0, base_rss_bytes=0, in_flight=0, requests_total=0, bots={},
        device_bytes=1 << 30, device_free_bytes=free_bytes,
    )  # fmt: skip


async def _has_epoch(router: RunningRouter, epoch: int) -> bool:
    return await router.metric("botshard_router_table_epoch") == epoch


def test_settings_of_health_arrive() -> None:
    """What is set is what is used."""
    settings = Settings.read(
        {
            "ROUTER_STORE_URL": "file:///x",
            "ROUTER_EJECT_AFTER": "7",
            "ROUTER_SLOW_START_S": "0",
            "ROUTER_PROBE_INTERVAL_S": "30",
            "ROUTER_MAX_COLD_WAITING": "9",
        }
    )
    assert settings.health == HealthRules(failures=7, slow_start_s=0.0)
    assert settings.probes == ProbeRules(idle_s=30.0)
    assert settings.limits.max_cold_waiting_per_pool == 9
