"""The router with a real Envoy in front of its pools, configured as Knative's Kourier configures it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import Epoch, Framework, GroupName, PoolName
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.table import TableStore
from router.short import ShortWay
from tests.router.fleet import Fleet
from tests.router.gateways import Behind, Gateway, running_gateway
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Answer, Call, Upstream, infer_answer, plain, upstream
from tests.waiting import aeventually

_HOSTS = tuple(f"pool-{number}.bots.svc.cluster.local" for number in range(6))
_CX = "http.ingress.downstream_cx_total"


def _url(host: str) -> str:
    return f"http://{host}"


def _key(host: str) -> FamilyKey:
    return FamilyKey(GroupName("realtime"), Framework("torch"), None, host.partition(".")[0])


def _one_pool_each(fleet: Fleet, hosts: Mapping[str, str], gateway: str | None) -> None:
    """Publish a bot for each host, alone in the pool that is there; {bot: host}."""
    families = {}
    for bot, host in hosts.items():
        key = _key(host)
        fleet.publish_bots(bot, key=key)
        pool = pool_name(key.group, family_id(key), 0)
        families[family_id(key)] = FamilyRoutes(family_id(key), key, 0, {PoolName(pool): _url(host)}, ((pool,),))
    fleet.epoch += 1
    group = GroupRoute(realtime=True, request_timeout_s=10.0, cold_start_timeout_s=10.0, gateway=gateway)
    table = RoutingTable(Epoch(fleet.epoch), {GroupName("realtime"): group}, families)
    fleet._etag = TableStore(fleet.store).publish(table, previous_etag=fleet._etag)


async def _ours(call: Call) -> None:
    await call.write(infer_answer(call.path.split("/")[3]))


@contextlib.asynccontextmanager
async def _upstreams(*answers: Answer) -> AsyncIterator[list[Upstream]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(upstream(answer)) for answer in answers]


async def _in_force(router: RunningRouter, epoch: int) -> None:
    async def is_there() -> bool:
        return await router.metric("botshard_router_table_epoch") == epoch

    await aeventually(is_there)


async def test_many_pools_are_reached_over_few_connections(fleet: Fleet, tmp_path: Path) -> None:
    """Host tells them apart: requests in sequence to six pools need one connection, forty at once never more than they.

    Nor does a pool that leaves the table close any of them.
    """
    bots = {f"bot-{number}": host for number, host in enumerate(_HOSTS)}
    async with _upstreams(*[_ours] * 6) as pools:
        behind = {host: Behind(pool.port) for host, pool in zip(_HOSTS, pools, strict=True)}
        with running_gateway(tmp_path / "gateway", behind) as gateway:
            _one_pool_each(fleet, bots, gateway.url)
            async with running_router(fleet) as router:
                for _ in range(5):
                    for bot in bots:
                        answer = await router.infer(bot)
                        assert (answer.status_code, answer.json()["model_name"]) == (200, bot)
                        assert not [name for name in answer.headers if name.startswith(("x-envoy", "k-"))]
                assert gateway.stat(_CX) == 1
                shortcut = router.parts.server.shortcut
                assert isinstance(shortcut, ShortWay)
                assert 1 <= len(shortcut.answers) <= 2, "answers that differ in their times only are one"
                for pool, (bot, host) in zip(pools, bots.items(), strict=True):
                    assert {call.path for call in pool.calls} == {f"/v2/models/{bot}/infer"}
                    assert {call.headers["host"] for call in pool.calls} == {host}
                answers = await asyncio.gather(*[router.infer(f"bot-{number % 6}") for number in range(40)])
                assert {answer.status_code for answer in answers} == {200}
                opened = gateway.stat(_CX)
                assert opened <= 41
                assert await router.metric("botshard_router_gateway_connections") <= opened
                _one_pool_each(fleet, {bot: host for bot, host in bots.items() if bot != "bot-5"}, gateway.url)
                await _in_force(router, fleet.epoch)
                idle = router.parts.pools.shared[0].open_count
                assert (await router.infer("bot-0")).status_code == 200
                assert (gateway.stat(_CX), idle > 0) == (opened, True)


async def test_a_router_outside_is_told_its_gateway(fleet: Fleet, tmp_path: Path) -> None:
    """What the router is told goes before the table, whose URLs then need not resolve; a client commands no gateway."""
    async with upstream(_ours) as pool:
        with running_gateway(tmp_path / "gateway", {_HOSTS[0]: Behind(pool.port)}) as gateway:
            _one_pool_each(fleet, {"bot": _HOSTS[0]}, "http://no-such-gateway.invalid")
            async with running_router(fleet, gateway=gateway.url) as router:
                orders = {
                    "knative-serving-revision": "another",
                    "k-network-probe": "queue",
                    "x-envoy-upstream-rq-timeout-ms": "1",
                }
                answer = await router.client.post("/v2/models/bot/infer", content=b"{}", headers=orders)
                assert answer.status_code == 200
                got = pool.calls[0].headers
                assert (got["host"], got["knative-serving-revision"]) == (_HOSTS[0], "pool-0")
                assert not {"k-network-probe", "x-envoy-upstream-rq-timeout-ms"} & set(got)


async def test_a_host_that_the_gateway_does_not_know_is_told_and_healed_by_a_table(
    fleet: Fleet, tmp_path: Path
) -> None:
    """Its empty 404 is no answer to a client; the next table names the right host."""
    async with upstream(_ours) as pool:
        with running_gateway(tmp_path / "gateway", {_HOSTS[0]: Behind(pool.port)}) as gateway:
            fleet.publish_bots("bot")
            fleet.publish_table("http://gone.bots.svc.cluster.local", gateway=gateway.url)
            async with running_router(fleet) as router:
                answer = await router.infer("bot")
                assert answer.status_code == 503
                assert "no_route" in answer.json()["error"]
                assert await router.metric("botshard_router_hop_errors_total", hop="gateway", reason="no_route") == 3
                fleet.publish_table(_url(_HOSTS[0]), gateway=gateway.url)
                assert (await router.infer("bot")).status_code == 200


@pytest.mark.parametrize("has_endpoint", [pytest.param(True, id="dead"), pytest.param(False, id="without endpoints")])
async def test_a_pool_without_a_replica_costs_no_request_where_there_is_another(
    fleet: Fleet, tmp_path: Path, has_endpoint: object
) -> None:
    """Envoy says 503 for it; the next pool is asked at once."""
    async with upstream(_ours) as gone, upstream(_ours) as pool:
        await gone.stop()
        behind = {_HOSTS[0]: Behind(gone.port, has_endpoint=bool(has_endpoint)), _HOSTS[1]: Behind(pool.port)}
        with running_gateway(tmp_path / "gateway", behind) as gateway:
            fleet.publish_bots("bot")
            fleet.publish_table(_url(_HOSTS[0]), _url(_HOSTS[1]), gateway=gateway.url)
            async with running_router(fleet) as router:
                answers = [await router.infer("bot") for _ in range(5)]
                assert {answer.status_code for answer in answers} == {200}
                assert await router.metric("botshard_router_hop_errors_total", hop="gateway") >= 1


async def test_pools_are_killed_behind_the_gateway(fleet: Fleet, tmp_path: Path) -> None:
    """One pool of two after the other ends and comes back while requests go on: none fails."""

    async def slowly(call: Call) -> None:
        await asyncio.sleep(0.01)
        await _ours(call)

    async with _upstreams(slowly, slowly) as pools:
        behind = {host: Behind(pool.port) for host, pool in zip(_HOSTS, pools, strict=False)}
        with running_gateway(tmp_path / "gateway", behind) as gateway:
            fleet.publish_bots("bot")
            fleet.publish_table(_url(_HOSTS[0]), _url(_HOSTS[1]), gateway=gateway.url, request_timeout_s=20.0)
            async with running_router(fleet) as router:
                async with _asking(router) as statuses:
                    for pool in (*pools, *pools):
                        await _more(statuses, 20)
                        await pool.stop()
                        await _more(statuses, 20)
                        await pool.start()
                assert set(statuses) == {200}
                assert await router.metric("botshard_router_hop_errors_total", hop="gateway") >= 1


async def test_a_gateway_is_replaced_without_a_request_lost(fleet: Fleet, tmp_path: Path) -> None:
    """Two of them listen for a moment, then the old one is killed with all connections that it has."""
    async with _upstreams(_ours, _ours) as pools:
        behind = {host: Behind(pool.port) for host, pool in zip(_HOSTS, pools, strict=False)}
        with running_gateway(tmp_path / "old", behind) as old:
            fleet.publish_bots("bot")
            fleet.publish_table(_url(_HOSTS[0]), _url(_HOSTS[1]), gateway=old.url, request_timeout_s=20.0)
            async with running_router(fleet) as router:
                new = Gateway(tmp_path / "new", behind, port=old.port)
                try:
                    async with _asking(router) as statuses:
                        await _more(statuses, 20)
                        await asyncio.to_thread(new.start)
                        await _more(statuses, 20)
                        old.kill()
                        await _more(statuses, 40)
                    assert set(statuses) == {200}
                finally:
                    new.kill()


async def test_a_gateway_that_is_away_is_waited_for_and_then_told(fleet: Fleet, tmp_path: Path) -> None:
    """Its absence is over in less than a second as a rule: requests wait that long, then say when to come again."""
    async with upstream(_ours) as pool:
        with running_gateway(tmp_path / "gateway", {_HOSTS[0]: Behind(pool.port)}) as gateway:
            fleet.publish_bots("bot")
            fleet.publish_table(_url(_HOSTS[0]), gateway=gateway.url, request_timeout_s=20.0)
            async with running_router(fleet) as router:
                assert (await router.infer("bot")).status_code == 200
                gateway.kill()
                answer = await router.infer("bot")
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert "no connection to 127.0.0.1" in answer.json()["error"]
                errors = await router.metric("botshard_router_hop_errors_total", hop="gateway", reason="no_connection")
                assert errors >= 7
                await asyncio.to_thread(gateway.start)
                assert (await router.infer("bot")).status_code == 200


async def test_large_bodies_go_through_both_ways(fleet: Fleet, tmp_path: Path) -> None:
    """Eight mebibytes there and back, unchanged, and the connection is used again."""
    body = bytes(range(256)) * 32768

    async def echo(call: Call) -> None:
        await call.write(plain(call.body, content_type="application/octet-stream", x_botshard_epoch="1"))

    async with upstream(echo) as pool:
        with running_gateway(tmp_path / "gateway", {_HOSTS[0]: Behind(pool.port)}) as gateway:
            fleet.publish_bots("bot")
            fleet.publish_table(_url(_HOSTS[0]), gateway=gateway.url, request_timeout_s=20.0)
            async with running_router(fleet) as router:
                for _ in range(2):
                    answer = await router.infer("bot", body)
                    assert (answer.status_code, answer.content == body) == (200, True)
                assert gateway.stat(_CX) == 1


@contextlib.asynccontextmanager
async def _asking(router: RunningRouter, *, clients: int = 4) -> AsyncIterator[list[int]]:
    """Clients that ask one after the other without end; the statuses that they got."""
    statuses: list[int] = []

    async def ask() -> None:
        while True:
            try:
                statuses.append((await router.infer("bot")).status_code)
            except httpx.HTTPError:
                statuses.append(0)

    tasks = [asyncio.create_task(ask()) for _ in range(clients)]
    try:
        yield statuses
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _more(statuses: list[int], count: int) -> None:
    wanted = len(statuses) + count

    async def are_there() -> bool:
        return len(statuses) >= wanted

    await aeventually(are_there, within_s=30.0)
