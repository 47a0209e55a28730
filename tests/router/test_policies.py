"""The policies are pure: pools and their load in, one of them out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.groups import RoutePolicy
from botshard.sharding.hashing import family_id
from botshard.sharding.routing import GroupRoute, PoolRoute
from router.select import (
    PeakEwma,
    Policy,
    device_memory,
    first,
    least_outstanding,
    policy_of,
    response_time,
    two_of,
    untried,
    usable,
)
from tests.router.fleet import REALTIME, pool

NOW_S = 1000.0
POLICIES = {
    RoutePolicy.FIRST: first,
    RoutePolicy.LEAST_OUTSTANDING: least_outstanding,
    RoutePolicy.RESPONSE_TIME: response_time,
    RoutePolicy.DEVICE_MEMORY: device_memory,
}


@dataclass(slots=True, eq=False)
class Seen:
    """A pool as policies see it."""

    route: PoolRoute
    outstanding: int = 0
    latency: PeakEwma | None = None
    free_bytes: int | None = None
    is_ejected: bool = False
    part: float = 1.0

    def share(self, _now_s: float, /) -> float:
        return self.part


def seen(*loads: int, latencies: tuple[float, ...] = (), free: tuple[int | None, ...] = ()) -> list[Seen]:
    """Pools with so much in flight, in the table's order."""
    pools = []
    for index, outstanding in enumerate(loads):
        route = PoolRoute(pool(index), f"http://127.0.0.1:{index}", REALTIME.group, family_id(REALTIME))
        latency = None
        if latencies:
            latency = PeakEwma()
            if latencies[index]:
                latency.note(latencies[index], NOW_S)
        pools.append(Seen(route, outstanding, latency, free[index] if free else None))
    return pools


def _numbers(*values: float) -> Iterator[float]:
    yield from values
    raise AssertionError("more was left to chance than expected")


def _no_chance() -> float:
    raise AssertionError("nothing is left to chance here")


@pytest.mark.parametrize(
    ("policy", "pools", "chosen"),
    [
        pytest.param(first, seen(9, 0), 0, id="first: whatever is in flight"),
        pytest.param(least_outstanding, seen(0, 0), 0, id="equal: the table's order"),
        pytest.param(least_outstanding, seen(2, 1), 1, id="fewest in flight"),
        pytest.param(least_outstanding, seen(4), 0, id="one pool"),
        pytest.param(response_time, seen(0, 0, latencies=(0.2, 0.1)), 1, id="the quicker one"),
        pytest.param(response_time, seen(0, 2, latencies=(0.2, 0.1)), 0, id="the quicker one has a queue"),
        pytest.param(response_time, seen(0, 0, latencies=(0.2, 0)), 1, id="a new one is asked"),
        pytest.param(response_time, seen(5, 1, latencies=(0.2, 0)), 0, id="once, until it has answered"),
        pytest.param(response_time, seen(0, 0), 0, id="nobody knows anything: the table's order"),
        pytest.param(device_memory, seen(0, 0, free=(1000, 3000)), 1, id="more memory is free"),
        pytest.param(device_memory, seen(0, 3, free=(1000, 3000)), 0, id="three times the room, three times the load"),
        pytest.param(device_memory, seen(7, 0, free=(0, 5)), 1, id="no room at all"),
        pytest.param(device_memory, seen(1, 0, free=(None, 5)), 1, id="one does not say: fewest in flight"),
        pytest.param(device_memory, seen(0, 1, free=(None, None)), 0, id="nobody says: fewest in flight"),
    ],
)
def test_a_policy_chooses_between_two(policy: Policy, pools: list[Seen], chosen: int) -> None:
    """By what it goes by, without chance."""
    assert policy(pools, NOW_S, _no_chance) is pools[chosen]


@pytest.mark.parametrize("policy", [least_outstanding, response_time, device_memory])
def test_of_more_than_two_pools_two_by_chance_are_compared(policy: Policy) -> None:
    """Drawn are the second and the last; the better of these two is taken, though another is the best."""
    pools = seen(0, 5, 0, 3, latencies=(0.1,) * 4)
    numbers = _numbers(0.99, 0.4)  # the last of four, then the second of the three others
    assert policy(pools, NOW_S, lambda: next(numbers)) is pools[3]


@given(st.integers(1, 4), st.randoms(use_true_random=False))
def test_two_by_chance_are_two(count: int, random: Random) -> None:
    """Different ones in the table's order; of one pool it is that one twice."""
    pools = seen(*[0] * count)
    one, other = two_of(pools, random.random)
    indices = pools.index(one), pools.index(other)
    assert indices == (0, 0) if count == 1 else indices[0] < indices[1]


def test_each_pair_comes_up_as_often() -> None:
    """Of four pools there are six pairs."""
    random, pools = Random(1), seen(0, 0, 0, 0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        pair = tuple(pools.index(one) for one in two_of(pools, random.random))
        counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 6
    assert all(850 < count < 1150 for count in counts.values())


@given(
    policy=st.sampled_from(list(POLICIES.values())),
    loads=st.lists(st.integers(0, 50), min_size=1, max_size=4),
    took=st.lists(st.floats(0, 100), min_size=4, max_size=4),
    free=st.lists(st.none() | st.integers(0, 2**40), min_size=4, max_size=4),
    random=st.randoms(use_true_random=False),
)
def test_a_policy_always_gives_one_of_its_pools(
    policy: Policy, loads: list[int], took: list[float], free: list[int | None], random: Random
) -> None:
    """Whatever the load."""
    pools = seen(*loads, latencies=tuple(took), free=tuple(free))
    assert policy(pools, NOW_S + random.random() * 100, random.random) in pools


@pytest.mark.parametrize(
    ("route", "policy"),
    [
        pytest.param(GroupRoute(True, 1, 1), least_outstanding, id="realtime: share the load"),
        pytest.param(GroupRoute(False, 1, 1), first, id="not realtime: let the others sleep"),
        *[pytest.param(GroupRoute(False, 1, 1, name), policy, id=name) for name, policy in POLICIES.items()],
    ],
)
def test_the_policy_is_the_groups(route: GroupRoute, policy: Policy) -> None:
    """What its file says, else what its class needs."""
    assert policy_of(route) is policy


def test_a_slow_answer_counts_at_once_and_is_forgotten_slowly() -> None:
    """The peak is taken as it is; quick answers bring it down bit by bit, and so does silence."""
    latency = PeakEwma()
    latency.note(0.010, 0.0)
    latency.note(0.500, 1.0)
    assert latency.seconds(1.0) == pytest.approx(0.5)
    latency.note(0.010, 2.0)
    assert 0.4 < latency.seconds(2.0) < 0.5
    assert latency.seconds(12.0) == pytest.approx(latency.seconds(2.0) / math.e)


def test_a_request_that_was_given_up_counts_as_long_as_it_waited() -> None:
    """If that is more than is known; less says nothing."""
    latency = PeakEwma()
    latency.note(1.0, 0.0)
    latency.at_least(0.5, 0.0)
    assert latency.seconds(0.0) == 1.0
    latency.at_least(3.0, 0.0)
    assert latency.seconds(0.0) == 3.0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 60)), min_size=1, max_size=30))
def test_a_response_time_is_never_more_than_the_slowest(answers: list[tuple[float, float]]) -> None:
    """Nor less than nothing, however answers and pauses follow each other."""
    latency, now_s = PeakEwma(), 0.0
    for took_s, pause_s in answers:
        now_s += pause_s
        latency.note(took_s, now_s)
        assert 0.0 <= latency.seconds(now_s) <= max(took for took, _ in answers) * (1 + 1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=4))
def test_a_shard_never_loses_more_than_half_of_its_pools(ejected: list[bool]) -> None:
    """However many are ejected; where all are, all are used."""
    pools = seen(*[0] * len(ejected))
    for one, is_ejected in zip(pools, ejected, strict=True):
        one.is_ejected = is_ejected
    left = usable(pools, NOW_S, _no_chance)
    assert len(left) >= math.ceil(len(pools) / 2)
    assert all(one in left for one in pools if not one.is_ejected)
    if all(ejected):
        assert list(left) == pools
    elif sum(ejected) <= len(pools) // 2:
        assert not any(one.is_ejected for one in left)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_somebody_is_always_there(parts: list[float], random: Random) -> None:
    """Also where every pool is in slow start."""
    pools = seen(*[0] * len(parts))
    for one, part in zip(pools, parts, strict=True):
        one.part = part
    left = usable(pools, NOW_S, random.random)
    assert left
    assert all(one in left for one in pools if one.part >= 1.0)


def test_a_pool_in_slow_start_gets_its_part_of_the_requests() -> None:
    """A tenth of them, though it would be the first."""
    pools, random = seen(0, 0), Random(1)
    pools[0].part = 0.1
    asked = [least_outstanding(usable(pools, NOW_S, random.random), NOW_S, random.random) for _ in range(5000)]
    assert 400 < asked.count(pools[0]) < 600


def test_the_pool_that_failed_a_request_least_often_is_next() -> None:
    """An ejected one that was not tried comes before a healthy one that has just failed."""
    pools = seen(0, 0, 0)
    assert untried(pools, {pool(0): 2, pool(1): 1}) is pools[2]
    pools[2].is_ejected = True
    assert untried(pools, {pool(0): 2, pool(1): 1}) is pools[2]
    assert untried(pools, {pool(0): 1}) is pools[1]
