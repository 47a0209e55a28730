"""Traffic is what it says: shares, rates and timetables, held against the numbers that they stand for."""

from __future__ import annotations

import json
from collections import Counter
from math import isclose, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.traffic.arrivals import moments
from loadtests.traffic.curves import Constant, Curve, Diurnal, Ramp
from loadtests.traffic.mixes import GreedyTenant, HotBot, hot_bot, typical_tenant
from loadtests.traffic.popularity import POPULARITIES, azure, measured, uniform, zipf
from loadtests.traffic.timetable import GRPC, Phase, Timetable, make_timetable, usual_of
from loadtests.traffic.traces import TraceError, read_counts

_TENANTS = [f"tenant-{bot % 20}" for bot in range(400)]
_CURVES = st.one_of(
    st.builds(Constant, st.floats(0, 20)),
    st.builds(Ramp, st.floats(0.1, 100), st.floats(0, 20), st.floats(0, 20)),
    st.builds(Diurnal, st.floats(1, 1e5), st.floats(0, 1e5), st.floats(0, 1)),
)


@given(st.sampled_from(sorted(POPULARITIES)), st.integers(1, 3000))
def test_shares_add_up_and_never_grow(name: str, count: int) -> None:
    """Whatever the popularity and however many bots."""
    shares = POPULARITIES[name](count)
    assert len(shares) == count
    assert isclose(sum(shares), 1.0, abs_tol=1e-9)
    assert min(shares) > 0
    assert list(shares) == sorted(shares, reverse=True)


@pytest.mark.parametrize("count", [200, 1_000, 20_000])
def test_azure_shares_are_those_that_were_published(count: int) -> None:
    """18.6 % of them have 99.6 % of the invocations; the 81st percentile is asked a minute what the 45th is an hour."""
    shares = azure(count)
    assert sum(shares[: round(0.186 * count)]) == pytest.approx(0.996, abs=0.004)
    every_minute, hourly = (shares[round((1 - place) * count)] for place in (0.81, 0.45))
    assert every_minute / hourly == pytest.approx(60, rel=0.15)


def test_azure_invocations_span_orders_of_magnitude() -> None:
    """The most popular of 50,000 is invoked eight orders more often than most are once."""
    shares = azure(50_000)
    assert shares[0] / shares[-1] > 1e8


@given(st.integers(2, 500), st.floats(0.1, 2))
def test_zipf_shares_fall_by_rank(count: int, exponent: float) -> None:
    """The n-th is asked 1/n to the exponent as often as the first."""
    shares = zipf(count, exponent)
    assert shares[0] / shares[count - 1] == pytest.approx(count**exponent)


def test_measured_counts_keep_their_shape() -> None:
    """Of twice as many bots as counts, two each have the share of one."""
    shares = measured([5, 0, 80, 15], 6)
    assert shares == pytest.approx((0.4, 0.4, 0.075, 0.075, 0.025, 0.025))
    with pytest.raises(ValueError, match="no count above 0"):
        measured([0, 0], 3)


def test_a_trace_is_read() -> None:
    """Sums of minutes, by function; a bad line is named."""
    lines = ["HashOwner,HashApp,HashFunction,Trigger,1,2,3", "o,a,f,http,1,0,2", "o,a,g,timer,0,,7"]
    assert read_counts(lines) == [3, 7]
    with pytest.raises(TraceError, match="line 3"):
        read_counts([*lines[:2], "o,a,g,timer,x"])
    with pytest.raises(TraceError, match="first minute"):
        read_counts(["a,b"])


@given(_CURVES, st.floats(0, 1e5))
def test_a_curve_stays_between_nought_and_its_peak(curve: Curve, elapsed_s: float) -> None:
    """Thinning stands on it."""
    assert 0 <= curve.at(elapsed_s) <= curve.peak * (1 + 1e-9)


def test_a_day_has_the_mean_1_and_half_of_its_peak_at_night() -> None:
    """So that the base rate is a day's mean."""
    day = Diurnal(day_s=86_400)
    assert sum(day.at(minute * 60) for minute in range(1440)) / 1440 == pytest.approx(1.0)
    assert day.at(0) == pytest.approx(day.peak / 2)
    assert day.at(43_200) == pytest.approx(day.peak)


@pytest.mark.parametrize(
    "curve", [Constant(), Constant(10), Ramp(60, 0, 2), Diurnal(100)], ids=["constant", "spike", "ramp", "day"]
)
@pytest.mark.parametrize("seed", range(5))
def test_arrivals_follow_their_curve(curve: Curve, seed: int) -> None:
    """In each twentieth of the time as many as the curve's integral says, by five standard deviations of Poisson's."""
    seconds, base_per_s, bins = 100.0, 40.0, 20
    found = list(moments(curve, base_per_s=base_per_s, seconds=seconds, chance=Random(seed)))
    assert found == sorted(found)
    assert all(0 <= at_s < seconds for at_s in found)
    counts = Counter(int(at_s / seconds * bins) for at_s in found)
    for number in range(bins):
        steps = [curve.at((number + step / 50) * seconds / bins) for step in range(50)]
        expected = base_per_s * seconds / bins * sum(steps) / 50
        assert abs(counts[number] - expected) <= 5 * sqrt(expected) + 5


def test_nothing_arrives_at_no_rate() -> None:
    """And nothing is divided by nought."""
    assert list(moments(Constant(0), base_per_s=10, seconds=10, chance=Random(1))) == []


def _timetable(*phases: Phase, seed: int = 1, grpc_share: float = 0.0) -> Timetable:
    return make_timetable(phases, zipf(400), _TENANTS, base_per_s=200, seed=seed, grpc_share=grpc_share)


def test_a_seed_makes_the_same_timetable() -> None:
    """And another seed another one."""
    assert _timetable(Phase("a", 5)) == _timetable(Phase("a", 5))
    assert _timetable(Phase("a", 5)) != _timetable(Phase("a", 5), seed=2)


def test_one_more_phase_changes_nothing_before_it() -> None:
    """Every phase has its own stream of random numbers."""
    short, long = _timetable(Phase("a", 5)), _timetable(Phase("a", 5), Phase("b", 5))
    assert long.arrivals[: len(short.arrivals)] == short.arrivals
    assert {arrival.phase for arrival in long.arrivals[len(short.arrivals) :]} == {1}


def test_a_timetable_is_data() -> None:
    """It comes back from JSON, to the microsecond."""
    timetable = _timetable(Phase("warm-up", 1, is_counted=False), Phase("a", 2), grpc_share=0.5)
    again = Timetable.read(json.loads(json.dumps(timetable.document())))
    assert again.spans == timetable.spans
    assert [one[1:] for one in again.arrivals] == [one[1:] for one in timetable.arrivals]
    assert all(abs(one.at_s - two.at_s) < 1e-6 for one, two in zip(timetable.arrivals, again.arrivals, strict=True))


def test_bots_are_asked_by_their_shares() -> None:
    """Of thousands of requests the most popular bot has its share, by five standard deviations."""
    timetable = _timetable(Phase("a", 60))
    usual = usual_of(zipf(400), 1)
    top = max(range(400), key=usual.__getitem__)
    count, expected = sum(one.bot == top for one in timetable.arrivals), usual[top] * len(timetable.arrivals)
    assert abs(count - expected) < 5 * sqrt(expected)


def test_a_share_of_the_requests_goes_over_grpc() -> None:
    """As large as it was asked for."""
    timetable = _timetable(Phase("a", 30), grpc_share=0.3)
    assert sum(one.protocol == GRPC for one in timetable.arrivals) / len(timetable.arrivals) == pytest.approx(
        0.3, abs=0.03
    )


@given(st.floats(0.05, 0.9), st.integers(3, 300))
def test_a_hot_bot_takes_its_share_and_nothing_from_the_others(share: float, count: int) -> None:
    """The others are asked as before."""
    usual = usual_of(zipf(count), 1)
    weights = HotBot(share).weights(usual, ["t"] * count)
    hot = hot_bot(usual)
    assert weights[hot] / sum(weights) == pytest.approx(share)
    assert weights[:hot] + weights[hot + 1 :] == usual[:hot] + usual[hot + 1 :]


@given(st.floats(1, 100))
def test_a_greedy_tenant_asks_a_multiple_and_takes_nothing_from_the_others(times: float) -> None:
    """It is one whose share is usual."""
    usual = usual_of(uniform(400), 1)
    weights = GreedyTenant(times).weights(usual, _TENANTS)
    greedy = typical_tenant(usual, _TENANTS)
    for weight, before, tenant in zip(weights, usual, _TENANTS, strict=True):
        assert weight == pytest.approx(before * times if tenant == greedy else before)


def test_rates_of_a_phase_follow_its_mix() -> None:
    """A hot bot doubles the requests where it takes half of them."""
    timetable = _timetable(Phase("calm", 30), Phase("hot", 30, mix=HotBot(0.5)))
    calm, hot = (sum(one.phase == index for one in timetable.arrivals) for index in (0, 1))
    assert hot / calm == pytest.approx(2.0, rel=0.1)
