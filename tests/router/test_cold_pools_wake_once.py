"""Requests to a pool at zero: one wakes it, the others wait for its answer, and past a bound they are told when."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cold import Cold, StartTimes, Turn, left_s
from router.errors import OverloadedError
from router.health import HealthRules
from router.limits import Limits
from router.pools import PoolState
from tests.router.fleet import SLEEPY, Fleet
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Call, Upstream, infer_answer, upstream
from tests.waiting import aeventually


class Sleeper:
    """A pool at zero: what is asked waits until it is awake."""

    def __init__(self) -> None:
        self.awake = asyncio.Event()

    async def answer(self, call: Call) -> None:
        await self.awake.wait()
        await call.write(infer_answer("bot"))


def _infers(server: Upstream) -> int:
    return sum(call.path.endswith("/infer") for call in server.calls)


def _only_pool(router: RunningRouter) -> PoolState:
    (pool,) = router.parts.pools
    return pool


def _asks(router: RunningRouter, count: int) -> list[asyncio.Task[httpx.Response]]:
    return [asyncio.create_task(router.infer("bot")) for _ in range(count)]


async def _statuses(asked: list[asyncio.Task[httpx.Response]]) -> list[int]:
    return [response.status_code for response in await asyncio.gather(*asked)]


async def _wait_for(router: RunningRouter, waiting: int) -> None:
    """Until so many requests wait for the pool's first answer."""

    async def so_many() -> bool:
        cold = _only_pool(router).cold
        return cold is not None and cold.waiting == waiting

    assert await aeventually(so_many)


async def test_fifty_requests_to_a_cold_pool_cause_one_wake(fleet: Fleet) -> None:
    """One goes there, 49 wait, and all are answered once that one is."""
    fleet.publish_bots("bot", key=SLEEPY)
    sleeper = Sleeper()
    async with upstream(sleeper.answer) as server:
        fleet.publish_table(sleepy=[server.url], cold_start_timeout_s=20.0)
        async with running_router(fleet) as router:
            asked = _asks(router, 50)
            await _wait_for(router, 49)
            assert await aeventually(lambda: _is(_infers(server) == 1))
            standing = (await router.client.get("/admin/table")).json()["pools"][0]["health"]
            await asyncio.sleep(0.2)  # the start itself
            assert _infers(server) == 1
            sleeper.awake.set()
            assert await _statuses(asked) == [200] * 50
            waits = await router.metric("botshard_router_cold_waits_total")
            wakes = await router.metric("botshard_router_wake_seconds_count")
            seconds = await router.metric("botshard_router_wake_seconds_sum")
            assert await _statuses(_asks(router, 5)) == [200] * 5
            assert await router.metric("botshard_router_cold_waits_total") == 49
    assert standing["state"] == "starting"
    assert "49 requests wait" in standing["why"]
    assert _infers(server) == 55
    assert (waits, wakes) == (49, 1)
    assert seconds > 0.2


async def test_past_the_bound_a_request_is_told_when_to_come_back(fleet: Fleet) -> None:
    """503 at once, with a Retry-After by what starts of this pool took."""
    fleet.publish_bots("bot", key=SLEEPY)
    sleeper = Sleeper()
    async with upstream(sleeper.answer) as server:
        fleet.publish_table(sleepy=[server.url], cold_start_timeout_s=20.0)
        async with running_router(fleet, limits=Limits(max_cold_waiting_per_pool=3)) as router:
            _only_pool(router).starts.note(60.0)
            asked = _asks(router, 4)
            await _wait_for(router, 3)
            refused = await router.infer("bot")
            count = await router.metric("botshard_router_cold_refused_total")
            sleeper.awake.set()
            assert await _statuses(asked) == [200] * 4
    assert refused.status_code == 503
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert "3 requests wait for it already" in refused.json()["error"]
    assert count == 1


async def test_a_waking_request_that_fails_hands_on_its_turn(fleet: Fleet) -> None:
    """The pool drops the first three connections: never is more than one request there before an answer."""
    fleet.publish_bots("bot", key=SLEEPY)
    there, most, has_answered = 0, 0, False

    async def answer(call: Call) -> None:
        nonlocal there, most, has_answered
        there += 1
        if not has_answered:
            most = max(most, there)
        await asyncio.sleep(0.05)
        there -= 1
        if len(server.calls) <= 3:
            call.reset()
            return
        has_answered = True
        await call.write(infer_answer("bot"))

    async with upstream(answer) as server:
        fleet.publish_table(sleepy=[server.url])
        async with running_router(fleet) as router:
            assert await _statuses(_asks(router, 10)) == [200] * 10
    assert most == 1


async def test_a_waking_request_whose_time_is_up_hands_on_its_turn(fleet: Fleet) -> None:
    """The first gives up after 0.3 s; the next one wakes the pool, and is answered."""
    fleet.publish_bots("bot", key=SLEEPY)

    async def answer(call: Call) -> None:
        if len(server.calls) == 1 or not call.path.endswith("/infer"):
            await call.gone.wait()
        else:
            await call.write(infer_answer("bot"))

    async with upstream(answer) as server:
        fleet.publish_table(sleepy=[server.url])
        async with running_router(fleet) as router:
            hasty = asyncio.create_task(router.infer("bot", x_request_timeout="0.3"))
            assert await aeventually(lambda: _is(_infers(server) == 1))
            asked = _asks(router, 3)
            assert (await hasty).status_code == 504
            assert await _statuses(asked) == [200] * 3


async def test_who_waits_in_vain_leaves_no_trace(fleet: Fleet) -> None:
    """Requests whose time is up while they wait are 504, and the others' turns come all the same."""
    fleet.publish_bots("bot", key=SLEEPY)
    sleeper = Sleeper()
    async with upstream(sleeper.answer) as server:
        fleet.publish_table(sleepy=[server.url], cold_start_timeout_s=20.0)
        async with running_router(fleet) as router:
            asked = _asks(router, 2)
            await _wait_for(router, 1)
            hasty = [await router.infer("bot", x_request_timeout="0.1") for _ in range(3)]
            await _wait_for(router, 1)
            sleeper.awake.set()
            assert await _statuses(asked) == [200] * 2
            assert _only_pool(router).outstanding == 0
    assert [response.status_code for response in hasty] == [504] * 3


async def test_a_slow_request_to_a_pool_that_is_there_holds_nobody_back(fleet: Fleet) -> None:
    """The pool was quiet, not asleep: it answers a knock while the first request still takes its time."""
    fleet.publish_bots("bot", key=SLEEPY)
    release = asyncio.Event()

    async def answer(call: Call) -> None:
        if call.path.endswith("/infer") and _infers(server) == 1:
            await release.wait()
        await call.write(infer_answer("bot"))

    async with upstream(answer) as server:
        fleet.publish_table(sleepy=[server.url])
        async with running_router(fleet) as router:
            (slow,) = _asks(router, 1)
            assert await aeventually(lambda: _is(_infers(server) == 1))
            assert await _statuses(_asks(router, 5)) == [200] * 5
            assert not slow.done()
            release.set()
            assert (await slow).status_code == 200


async def test_a_warm_pool_lets_everybody_in(fleet: Fleet) -> None:
    """Once it has answered, requests go there side by side."""
    fleet.publish_bots("bot", key=SLEEPY)
    gate = asyncio.Event()

    async def answer(call: Call) -> None:
        if _infers(server) > 1:
            await gate.wait()
        await call.write(infer_answer("bot"))

    async with upstream(answer) as server:
        fleet.publish_table(sleepy=[server.url])
        async with running_router(fleet) as router:
            assert (await router.infer("bot")).status_code == 200
            asked = _asks(router, 8)
            assert await aeventually(lambda: _is(_infers(server) == 9))
            gate.set()
            assert await _statuses(asked) == [200] * 8


async def test_who_waits_for_a_pool_that_leaves_the_table_goes_to_the_next(fleet: Fleet) -> None:
    """The start never ends; another table names another pool, and those who waited are answered there."""
    fleet.publish_bots("bot", key=SLEEPY)
    sleeper = Sleeper()
    async with upstream(sleeper.answer) as gone, upstream(infer_answer("bot")) as there:
        fleet.publish_table(sleepy=[gone.url], cold_start_timeout_s=20.0)
        async with running_router(fleet) as router:
            (waker,) = _asks(router, 1)
            assert await aeventually(lambda: _is(_infers(gone) == 1))
            asked = _asks(router, 5)
            await _wait_for(router, 5)
            fleet.publish_table(sleepy=[there.url], cold_start_timeout_s=20.0)
            assert await _statuses(asked) == [200] * 5
            assert not waker.done()
            sleeper.awake.set()
            assert (await waker).status_code == 200
    assert _infers(there) == 5


async def test_who_waits_for_a_pool_that_is_ejected_goes_to_the_other(fleet: Fleet) -> None:
    """The first pool of the shard resets every connection: none of twenty requests fails."""
    fleet.publish_bots("bot", key=SLEEPY)

    async def answer(call: Call) -> None:
        call.reset()

    async with upstream(answer) as broken, upstream(infer_answer("bot")) as well:
        fleet.publish_table(sleepy=[broken.url, well.url])
        async with running_router(fleet, health=HealthRules(failures=3, base_s=60.0)) as router:
            assert await _statuses(_asks(router, 20)) == [200] * 20
            assert await router.metric("botshard_router_ejections_total", why="failures") == 1
    assert _infers(broken) < 20
    assert _infers(well) == 20


async def _is(value: bool, /) -> bool:  # noqa: FBT001 - a condition
    return value


class Crowd:
    """Requests at a cold pool, as they come and go."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.cold = Cold("p", loop=loop, most=5, expected_s=1.0, knock=asyncio.Event().wait)
        self.there: list[Turn] = []

    @property
    def wakers(self) -> int:
        return sum(turn.came is None or (turn.came.done() and not turn.came.cancelled()) for turn in self.there)

    def enter(self, _: int) -> None:
        try:
            self.there.append(self.cold.enter())
        except OverloadedError:
            assert self.cold.waiting == 5

    def leave(self, number: int, *, cancel: bool = False) -> None:
        if not self.there:
            return
        turn = self.there.pop(number % len(self.there))
        if cancel and turn.came is not None:
            turn.came.cancel()
        turn.over()
        turn.over()

    def cancel(self, number: int) -> None:
        self.leave(number, cancel=True)

    def answer(self, number: int) -> None:
        self.cold.answered(float(number))
        self._all_go()

    def dissolve(self, _: int) -> None:
        self.cold.dissolve()
        self._all_go()

    def _all_go(self) -> None:
        assert all(turn.came is None or turn.came.done() for turn in self.there)
        for turn in self.there:
            turn.over()
        self.there.clear()


@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "enter", "leave", "cancel", "answer", "dissolve"]), st.integers(0, 99))
    )
)
def test_while_anybody_waits_exactly_one_wakes_the_pool(events: list[tuple[str, int]]) -> None:
    """However requests come, fail, give up and are answered: nobody is forgotten, and nobody goes besides."""

    async def live() -> None:
        crowd = Crowd()
        for event, number in events:
            getattr(crowd, event)(number)
            assert crowd.wakers == bool(crowd.there)
            assert crowd.cold.waiting == len(crowd.there) - crowd.wakers <= 5
        crowd.dissolve(0)

    asyncio.run(live())


@given(st.floats(0.1, 600), st.floats(0, 600))
def test_what_is_left_of_a_start_is_told_honestly(expected_s: float, elapsed_s: float) -> None:
    """Never more than a start takes unless it is overdue, and then more the longer it is."""
    left = left_s(expected_s, elapsed_s)
    assert left >= expected_s - elapsed_s
    if elapsed_s <= expected_s / 2:
        assert left == pytest.approx(expected_s - elapsed_s)
    if elapsed_s >= expected_s:
        assert left == pytest.approx(elapsed_s / 4)


def test_a_pool_that_never_started_is_expected_to_take_what_others_of_its_group_take() -> None:
    """Its own last starts count more than those, once there are any."""
    group, own, other = StartTimes(), StartTimes(), StartTimes()
    own.of_group = other.of_group = group
    assert own.expected_s == 3.0
    other.note(8.0)
    assert own.expected_s == 8.0
    own.note(2.0)
    own.note(4.0)
    assert own.expected_s == 3.0
