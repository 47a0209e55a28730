"""What hops say when they are full or late, and who is asked then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from router.limits import Limits
from tests.router.fleet import SLEEPY, Fleet
from tests.router.gateways import Behind, running_gateway
from tests.router.running import running_router
from tests.router.upstreams import Call, infer_answer, plain, upstream
from tests.waiting import aeventually

_ONE, _TWO = "one.bots.svc.cluster.local", "two.bots.svc.cluster.local"
_OVERFLOWS = "cluster.one.*upstream_rq_pending_overflow"


async def _ours(call: Call) -> None:
    await call.write(infer_answer("bot"))


async def _slowly(call: Call) -> None:
    await asyncio.sleep(0.05)
    await _ours(call)


async def test_the_router_stays_below_the_circuit_breaker(fleet: Fleet, tmp_path: Path) -> None:
    """With fewer connections to a pool than its cluster takes, requests wait here and none is turned away there."""
    async with upstream(_slowly) as pool:
        behind = {_ONE: Behind(pool.port, max_connections=4, max_pending=4)}
        with running_gateway(tmp_path / "gateway", behind) as gateway:
            fleet.publish_bots("bot")
            fleet.publish_table(f"http://{_ONE}", gateway=gateway.url, request_timeout_s=20.0)
            async with running_router(fleet, limits=Limits(max_connections_per_pool=2)) as router:
                answers = await asyncio.gather(*[router.infer("bot") for _ in range(20)])
                assert {answer.status_code for answer in answers} == {200}
                assert gateway.stat(_OVERFLOWS) == 0


async def test_an_overflow_is_tried_again_after_a_pause_and_then_told(fleet: Fleet, tmp_path: Path) -> None:
    """It is the gateway's bound, which may be free a moment later; who finds it full each time is told when to come."""
    is_free = asyncio.Event()

    async def held(call: Call) -> None:
        await is_free.wait()
        await _ours(call)

    async with upstream(held) as pool:
        behind = {_ONE: Behind(pool.port, max_connections=1, max_pending=1)}
        with running_gateway(tmp_path / "gateway", behind) as gateway:
            fleet.publish_bots("bot")
            fleet.publish_table(f"http://{_ONE}", gateway=gateway.url, request_timeout_s=20.0)
            async with running_router(fleet) as router:
                first = [asyncio.create_task(router.infer("bot"))]

                async def is_held() -> bool:
                    return len(pool.calls) == 1

                async def is_pending() -> bool:
                    return gateway.stat("cluster.one.*upstream_rq_pending_active") == 1

                await aeventually(is_held)
                first.append(asyncio.create_task(router.infer("bot")))
                await aeventually(is_pending)
                answer = await router.infer("bot")
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert "gateway" in answer.json()["error"]
                assert "x-envoy-overloaded" not in answer.headers
                assert await router.metric("botshard_router_hop_errors_total", hop="gateway", reason="overflow") == 4
                assert await router.metric("botshard_router_retries_total", cause="overflow") == 3
                again = asyncio.create_task(router.infer("bot"))

                async def was_refused() -> bool:
                    return await router.metric("botshard_router_retries_total", cause="overflow") > 3

                await aeventually(was_refused)
                is_free.set()
                assert [(await task).status_code for task in (*first, again)] == [200, 200, 200]


async def test_an_overflow_at_one_pool_is_answered_by_another_at_once(fleet: Fleet, tmp_path: Path) -> None:
    """Each pool has a circuit breaker of its own."""
    async with upstream(_slowly) as tight, upstream(_ours) as free:
        behind = {_ONE: Behind(tight.port, max_connections=1, max_pending=1), _TWO: Behind(free.port)}
        with running_gateway(tmp_path / "gateway", behind) as gateway:
            fleet.publish_bots("bot")
            fleet.publish_table(f"http://{_ONE}", f"http://{_TWO}", gateway=gateway.url, request_timeout_s=20.0)
            async with running_router(fleet) as router:
                answers = await asyncio.gather(*[router.infer("bot") for _ in range(20)])
                assert {answer.status_code for answer in answers} == {200}
                assert gateway.stat(_OVERFLOWS) >= 1


async def test_a_request_waits_at_the_activator_until_a_replica_is_there(fleet: Fleet, tmp_path: Path) -> None:
    """A pool at zero: the gateway leads to the activator, which holds the request. It is sent once."""
    is_up = asyncio.Event()

    async def activator(call: Call) -> None:
        await is_up.wait()
        await _ours(call)

    async with upstream(activator) as held:
        with running_gateway(tmp_path / "gateway", {_ONE: Behind(held.port)}) as gateway:
            fleet.publish_bots("bot", key=SLEEPY)
            fleet.publish_table(
                sleepy=[f"http://{_ONE}"], gateway=gateway.url, request_timeout_s=0.2, cold_start_timeout_s=20.0
            )
            async with running_router(fleet) as router:
                waiting = [asyncio.create_task(router.infer("bot")) for _ in range(5)]

                async def are_held() -> bool:
                    return len(held.calls) >= 1

                await aeventually(are_held)
                await asyncio.sleep(0.4)  # longer than a pool that is up may take
                assert not any(task.done() for task in waiting)
                is_up.set()
                assert {(await task).status_code for task in waiting} == {200}
                assert len([call for call in held.calls if call.path.endswith("/infer")]) == 5


@pytest.mark.parametrize(
    ("status", "text", "hop", "reason", "tries"),
    [
        pytest.param(504, b"activator request timeout", "activator", "timeout", 1, id="activator: timeout"),
        pytest.param(503, b"context deadline exceeded\n", "activator", "no_capacity", 1, id="activator: no room"),
        pytest.param(503, b"pending request queue full\n", "queue_proxy", "full", 1, id="queue-proxy: full"),
        pytest.param(504, b"request timeout", "queue_proxy", "timeout", 1, id="queue-proxy: timeout"),
        pytest.param(502, b"EOF\n", "queue_proxy", "lost", 3, id="queue-proxy: the process goes"),
        pytest.param(
            502,
            b"dial tcp 127.0.0.1:8080: connect: connection refused\n",
            "queue_proxy",
            "no_process",
            8,
            id="queue-proxy: no process",
        ),
    ],
)
@pytest.mark.parametrize("pieces", [pytest.param(1, id="whole"), pytest.param(3, id="in pieces")])
async def test_the_only_pool_is_asked_as_often_as_makes_sense(
    fleet: Fleet, status: int, text: bytes, hop: str, reason: str, tries: int, pieces: int
) -> None:
    """What was too much or too late is not sent again; what was not there is waited for. The metric says who spoke."""
    answer = plain(text, status, content_type="text/plain; charset=utf-8")

    async def speak(call: Call) -> None:
        cut = len(answer) - len(text) + 3 if pieces > 1 else len(answer)
        await call.write(answer[:cut])
        if pieces > 1:
            await asyncio.sleep(0.01)
            await call.write(answer[cut:])

    async with upstream(speak) as pool:
        fleet.publish_bots("bot")
        fleet.publish_table(pool.url, request_timeout_s=20.0)
        async with running_router(fleet) as router:
            got = await router.infer("bot")
            assert got.status_code in {503, status}
            assert set(got.json()) == {"error"}
            assert len(pool.calls) == tries
            assert await router.metric("botshard_router_hop_errors_total", hop=hop, reason=reason) == tries


@pytest.mark.parametrize(
    "text", [b"pending request queue full\n", b"context deadline exceeded\n"], ids=["full", "late"]
)
async def test_a_full_pool_is_left_for_another(fleet: Fleet, text: bytes) -> None:
    """The client sees nothing of it."""
    async with upstream(plain(text, 503, content_type="text/plain")) as full, upstream(_ours) as free:
        fleet.publish_bots("bot")
        fleet.publish_table(full.url, free.url)
        async with running_router(fleet) as router:
            assert (await router.infer("bot")).status_code == 200
            assert (len(full.calls), len(free.calls)) == (1, 1)
