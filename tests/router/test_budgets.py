"""Tries above the first are a share of the requests of the last seconds, and a few a second besides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.budget import Budget

_WINDOW_S = 10


class _Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now_s = 1000.5

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> _Clock:
    """A clock."""
    return _Clock()


def _retries(budget: Budget) -> int:
    """How many are granted until one is not."""
    granted = 0
    while budget.may_retry():
        granted += 1
    return granted


def _hedges(budget: Budget) -> int:
    granted = 0
    while budget.may_hedge():
        granted += 1
    return granted


def _ask(budget: Budget, requests: int) -> None:
    for _ in range(requests):
        budget.asked()


@pytest.mark.parametrize(
    ("requests", "retries", "hedges"),
    [
        pytest.param(0, 100, 10, id="quiet: ten and one a second"),
        pytest.param(7, 101, 10, id="a few that were not looked at yet"),
        pytest.param(1000, 300, 110, id="a fifth, and a tenth"),
        pytest.param(50_000, 10_100, 5010, id="busy"),
    ],
)
def test_tries_are_a_share_of_the_requests(clock: _Clock, requests: int, retries: int, hedges: int) -> None:
    """Of all requests of the window, however many came at once; hedges spend nothing of what saves requests."""
    budget = Budget(clock)
    _ask(budget, requests)
    assert (_retries(budget), _hedges(budget)) == (retries, hedges)


def test_what_was_spent_comes_back_with_the_window(clock: _Clock) -> None:
    """A second later nothing more is there; when its second leaves the window, all of it."""
    budget = Budget(clock)
    assert _retries(budget) == 100
    clock.now_s += _WINDOW_S - 1
    assert _retries(budget) == 0
    clock.now_s += 1
    assert _retries(budget) == 100


def test_requests_are_forgotten_with_the_window(clock: _Clock) -> None:
    """Yesterday's requests allow no retries of today."""
    budget = Budget(clock)
    _ask(budget, 10_000)
    clock.now_s += 86_400
    assert _retries(budget) == 100


def test_a_burst_after_a_quiet_hour_has_its_share(clock: _Clock) -> None:
    """What counts is the last seconds, no mean over the time since anybody looked."""
    budget = Budget(clock)
    clock.now_s += 3600
    _ask(budget, 10_000)
    assert _retries(budget) == 2100


def test_a_clock_that_is_set_back_stops_nothing(clock: _Clock) -> None:
    """Time stands still meanwhile."""
    budget = Budget(clock)
    clock.now_s -= 500
    _ask(budget, 1000)
    assert _retries(budget) == 300


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 300), st.integers(0, 300)), max_size=40))
def test_in_no_window_there_are_more_than_the_share(steps: list[tuple[float, int, int]]) -> None:
    """Whatever comes when: the seconds that a budget looks back at hold a fifth and the floor, at most."""
    clock = _Clock()
    budget = Budget(clock)
    asked: list[tuple[int, int]] = []
    granted: list[tuple[int, int]] = []
    for pause_s, requests, wanted in steps:
        clock.now_s += pause_s
        second = int(clock.now_s)
        _ask(budget, requests)
        asked.append((second, requests))
        granted.append((second, sum(budget.may_retry() for _ in range(wanted))))
        since = second - _WINDOW_S + 1
        # What the budget has not looked at yet may count as of a second later.
        requests_seen = sum(count for at, count in asked if at >= since - 3) + 15
        assert sum(count for at, count in granted if at >= since) <= 0.2 * requests_seen + 100
