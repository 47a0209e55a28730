"""Figures: of whom, of what, and what is promised."""

from __future__ import annotations

from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.report.figures import (
    causes_of,
    cold_of,
    figures_of,
    jain,
    moments_of,
    percentile,
    tenants_served,
)
from loadtests.report.promises import failed_at_most, p99_ratio_at_most, verdicts_of
from loadtests.report.seen import Slice
from loadtests.scenarios import SCENARIOS
from tests.loadtests.runs import exchange, imagined

_SHARES = st.lists(st.floats(0.001, 1000), min_size=1, max_size=50)


@given(_SHARES)
def test_fairness_lies_between_one_for_all_and_all_alike(values: list[float]) -> None:
    """1/n where one has everything, 1 where all have the same, and the unit does not matter."""
    index = jain(values)
    assert 1 / len(values) - 1e-9 <= index <= 1 + 1e-9
    assert jain([7.0 * value for value in values]) == pytest.approx(index)
    assert jain([values[0]] * 5) == pytest.approx(1)
    assert jain([values[0], 0, 0, 0]) == pytest.approx(0.25)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_a_percentile_is_a_value_that_was_seen(values: list[float], share: float) -> None:
    """At least that share of the values does not exceed it."""
    found = percentile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


def test_figures_count_what_failed_and_how_long_it_took() -> None:
    """Latency is of all requests: one that failed late is late."""
    figures = figures_of(
        [exchange(0.0, took_s=0.001), exchange(1.0, took_s=3.0, cause="no answer in time")], seconds=2.0
    )
    assert (figures.requests, figures.failed, figures.failed_share) == (2, 1, 0.5)
    assert figures.answered_per_s == 0.5
    assert figures.latency_ms(0.99) == figures.longest_ms == pytest.approx(3000)
    assert isnan(figures_of([], seconds=1.0).failed_share)


def test_cold_requests_are_counted_among_those_that_tell() -> None:
    """Who says nothing is left out."""
    cold = cold_of([exchange(0, cold=1, took_s=0.1), exchange(0), exchange(0, cold=-1, took_s=9.0)])
    assert (cold.known, cold.cold, cold.share) == (2, 1, 0.5)
    assert cold.p50_ms == pytest.approx(100)


def test_causes_come_by_their_number() -> None:
    """The most frequent first, answers left out."""
    exchanges = [exchange(at, cause=cause) for at, cause in enumerate(["503 a", "", "503 b", "503 b"])]
    assert causes_of(exchanges) == [("503 b", 2), ("503 a", 1)]


def test_moments_are_seconds_of_when_requests_were_due() -> None:
    """Those without any are left out."""
    found = moments_of([exchange(0.2), exchange(0.9, cause="x"), exchange(3.5)])
    assert [(one.at_s, one.due, one.answered, one.failed) for one in found] == [(0, 2, 1, 1), (3, 1, 1, 0)]


def test_a_tenant_is_served_by_right_answers_in_time() -> None:
    """Late ones and wrong ones are none."""
    exchanges = [exchange(0), exchange(0, took_s=2.0), exchange(0, bot=1, cause="wrong"), exchange(0, bot=2)]
    assert tenants_served(exchanges, ["a", "b", "b"], within_s=1.0) == {"a": 0.5, "b": 0.5}


def test_slices_split_a_run() -> None:
    """The groups are the whole, everybody's others are not the greedy, and a warm-up is in none."""
    seen = imagined(SCENARIOS["spike"])
    whole = seen.figures().requests
    assert whole == sum(seen.figures(Slice(group=group)).requests for group in ("realtime", "non-realtime"))
    assert whole == sum(seen.figures(Slice(phase)).requests for phase in ("calm", "spike", "after"))
    assert whole < len(seen.results.exchanges)
    hot = imagined(SCENARIOS["hot-bot"])
    others, greedy = (hot.figures(Slice("hot", others=others)).requests for others in (True, False))
    assert others == pytest.approx(greedy, rel=0.15)


def test_phases_of_one_name_are_one_slice() -> None:
    """What takes turns is compared over all its turns."""
    seen = imagined(SCENARIOS["many-tenants"])
    assert [str(one) for one in seen.slices()].count("calm") == 1
    assert seen.figures(Slice("calm")).answered_per_s == pytest.approx(SCENARIOS["many-tenants"].rate_per_s, rel=0.1)


def test_a_rollout_is_told_by_who_answers() -> None:
    """From publishing to the old version's last answer; bots that nobody asked afterwards are left out."""
    rollout = imagined(SCENARIOS["rolling-update"]).rollout()
    assert rollout is not None
    assert rollout.answered == rollout.bots > 0
    assert 0 < rollout.longest_s <= 0.51
    stuck = imagined(SCENARIOS["rolling-update"], become=lambda one: one._replace(version=1)).rollout()
    assert stuck is not None
    assert stuck.answered == 0
    assert stuck.longest_s > 10


def test_a_promise_about_what_was_not_seen_is_neither_kept_nor_missed() -> None:
    """As after Ctrl-C."""
    seen = imagined(SCENARIOS["spike"], is_whole=False)
    verdicts = verdicts_of(
        seen,
        (failed_at_most(0), failed_at_most(0, Slice("after")), p99_ratio_at_most(2, Slice("after"), Slice("calm"))),
    )
    assert [verdict.ok for verdict in verdicts] == [True, None, None]
