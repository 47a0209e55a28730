"""How many replicas a local pool should have, and how long a process that ends by itself has to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.local.scaling import SCALE_DOWN_WINDOW_S, PoolActivity, restart_delay_s, wanted_replicas
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import GroupName

_REALTIME = PoolGroupSpec(GroupName("rt"), realtime=True, min_replicas=2, max_replicas=4, concurrency=10)
_SLEEPY = PoolGroupSpec(GroupName("nrt"), realtime=False, max_replicas=3, concurrency=10, idle_after_s=60.0)
_FLOORED = PoolGroupSpec(GroupName("low"), realtime=False, min_replicas=1, max_replicas=3, idle_after_s=60.0)
_NOW_S = 1000.0


@pytest.mark.parametrize(
    ("group", "in_flight", "quiet_s", "wanted"),
    [
        pytest.param(_REALTIME, 0, 9999.0, 2, id="realtime keeps its floor"),
        pytest.param(_REALTIME, 20, 0.0, 2, id="what the floor carries"),
        pytest.param(_REALTIME, 21, 0.0, 3, id="one more than two can carry"),
        pytest.param(_REALTIME, 1000, 0.0, 4, id="never over the ceiling"),
        pytest.param(_SLEEPY, 0, 59.9, 1, id="not idle for long enough"),
        pytest.param(_SLEEPY, 0, 60.0, 0, id="idle"),
        pytest.param(_SLEEPY, 1, 9999.0, 1, id="a long request keeps it awake"),
        pytest.param(_SLEEPY, 11, 0.0, 2, id="grows without a floor too"),
        pytest.param(_SLEEPY, 99, 0.0, 3, id="ceiling without a floor"),
        pytest.param(_FLOORED, 0, 9999.0, 1, id="a floor forbids sleep"),
    ],
)
def test_replicas_follow_load_between_floor_and_ceiling(
    group: PoolGroupSpec, in_flight: int, quiet_s: float, wanted: int
) -> None:
    """By requests in flight, and to zero only where the group allows it."""
    activity = PoolActivity(_NOW_S - quiet_s)
    activity.note(_NOW_S, in_flight=in_flight, busy=False)
    assert wanted_replicas(group, activity, now_s=_NOW_S) == wanted


def test_a_pool_that_nobody_has_asked_sleeps() -> None:
    """From its making on."""
    assert wanted_replicas(_SLEEPY, PoolActivity(float("-inf")), now_s=_NOW_S) == 0


def test_down_only_when_the_busiest_moment_is_over_the_window() -> None:
    """Up at once; the replicas of a burst stay for the window after its end, not a moment longer."""
    activity = PoolActivity(_NOW_S)
    activity.note(_NOW_S, in_flight=35, busy=True)
    activity.note(_NOW_S + 5, in_flight=0, busy=True)
    assert wanted_replicas(_REALTIME, activity, now_s=_NOW_S + 5) == 4
    assert wanted_replicas(_REALTIME, activity, now_s=_NOW_S + 4.9 + SCALE_DOWN_WINDOW_S) == 4
    assert wanted_replicas(_REALTIME, activity, now_s=_NOW_S + 5 + SCALE_DOWN_WINDOW_S) == 2


def test_a_burst_is_forgotten_also_while_a_little_goes_on() -> None:
    """Single requests that come and go do not keep the replicas of a burst."""
    activity = PoolActivity(_NOW_S)
    activity.note(_NOW_S, in_flight=35, busy=True)
    for half_second in range(1, 200):
        activity.note(_NOW_S + half_second / 2, in_flight=half_second % 2, busy=True)
    assert activity.peak(_NOW_S + 100) == 1


@given(
    steps=st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(0, 50)), max_size=40),
    later_s=st.floats(0.0, 40.0),
)
def test_the_peak_is_the_most_that_was_in_flight_within_the_window(
    steps: list[tuple[float, int]], later_s: float
) -> None:
    """As a search through everything that was ever said finds it."""
    activity = PoolActivity(_NOW_S)
    now_s, spans, value = _NOW_S, [], 0
    since_s = float("-inf")
    for pause_s, in_flight in steps:
        now_s += pause_s
        activity.note(now_s, in_flight=in_flight, busy=True)
        spans.append((since_s, now_s, value))
        since_s, value = now_s, in_flight
    now_s += later_s
    spans.append((since_s, float("inf"), value))
    expected = max(number for _, until_s, number in spans if until_s > now_s - SCALE_DOWN_WINDOW_S)
    assert activity.peak(now_s) == expected


@pytest.mark.parametrize(
    ("failures", "lived_s", "delay_s"),
    [
        (1, 0.0, 0.0),
        (2, 0.0, 0.2),
        (3, 0.0, 0.4),
        (6, 0.0, 3.2),
        (7, 0.0, 5.0),
        (50, 9.9, 5.0),
        (50, 10.0, 0.0),
        (100_000, 0.0, 5.0),
    ],
)
def test_a_process_that_does_not_come_up_waits_longer_each_time(failures: int, lived_s: float, delay_s: float) -> None:
    """The first time not at all, later up to five seconds, however often; one that has lived is started at once."""
    assert restart_delay_s(failures, lived_s) == pytest.approx(delay_s)
