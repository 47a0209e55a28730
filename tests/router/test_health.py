"""Ejection and return of one pool, by outcomes and a clock that the tests hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.answers import Verdict
from router.health import Health, HealthRules, Tally, Why, outcome_of, outliers

RULES = HealthRules()


def _health(rules: HealthRules = RULES) -> Health:
    health = Health(rules)
    health.can_eject = True
    return health


def _fail(health: Health, now_s: float, times: int = RULES.failures) -> list[bool]:
    return [health.was_not_answered(now_s) for _ in range(times)]


def test_failures_in_a_row_eject_a_pool() -> None:
    """The fifth does, and tells so; further ones are no news."""
    health = _health()
    assert _fail(health, 0.0, 7) == [False] * 4 + [True] + [False] * 2
    assert (health.is_ejected, health.why, health.is_plain) == (True, Why.FAILURES, False)


def test_an_answer_in_between_begins_the_row_anew() -> None:
    """Four failures, an answer, four failures: that pool is there."""
    health = _health()
    _fail(health, 0.0, 4)
    health.was_answered(0.0)
    assert _fail(health, 0.0, 4) == [False] * 4


@pytest.mark.parametrize("rules", [RULES, HealthRules(failures=0)], ids=["nobody else is there", "switched off"])
def test_what_cannot_be_ejected_is_not(rules: HealthRules) -> None:
    """A pool that no shard can do without, and any pool where the operator wants it so."""
    health = Health(rules)
    health.can_eject = rules.failures == 0
    assert not any(_fail(health, 0.0, 50))
    assert not health.was_outlier(0.0)
    assert not any(health.was_probed(0.0, is_there=False) for _ in range(50))
    assert not health.is_ejected


def test_an_ejection_ends_by_itself_and_the_first_failure_after_it_begins_another_twice_as_long() -> None:
    """5 s, 10 s, 20 s …, never over a minute; half-open, as one failure is enough."""
    health, now_s = _health(), 0.0
    lasted = []
    for _ in range(7):
        while not health.is_ejected:
            health.was_not_answered(now_s)
        lasted.append(health.ejected_until_s - now_s)
        assert not health.passed(health.ejected_until_s - 0.001)
        now_s = health.ejected_until_s
        assert health.passed(now_s)
        assert health.failures_in_row == RULES.failures - 1
    assert lasted == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_a_good_minute_makes_the_next_ejection_a_first_one() -> None:
    """What was long ago is forgotten."""
    health = _health()
    for now_s in (0.0, 10.0):
        _fail(health, now_s)
        assert health.passed(health.ejected_until_s)
    now_s = 20.0 + RULES.longest_s + 1
    health.was_answered(now_s)
    _fail(health, now_s)
    assert health.ejected_until_s - now_s == RULES.base_s


def test_a_pool_that_shows_itself_is_back_at_once() -> None:
    """By an answer that somebody got in spite of the ejection, or by a probe's."""
    by_answer, by_probe = _health(), _health()
    for health in (by_answer, by_probe):
        _fail(health, 0.0)
    assert by_answer.was_answered(1.0)
    assert by_probe.was_probed(1.0, is_there=True)
    assert not by_answer.is_ejected
    assert not by_probe.is_ejected


def test_an_outlier_stays_out_for_its_time() -> None:
    """Some of its requests were answered all the time, and its probes: neither is news."""
    health = _health()
    assert health.was_outlier(0.0)
    assert not health.was_answered(1.0)
    assert not health.was_probed(1.0, is_there=True)
    assert health.is_ejected
    assert health.passed(RULES.base_s)


def test_probes_that_nobody_answers_eject_a_pool() -> None:
    """Three in a row; one that is answered begins the row anew."""
    health = _health()
    row = [False, False, True, False, False]
    assert [health.was_probed(0.0, is_there=is_there) for is_there in row] == [False] * 5
    assert health.was_probed(0.0, is_there=False)
    assert health.why is Why.PROBES


def test_the_share_of_a_pool_that_is_back_grows_to_the_whole() -> None:
    """From a tenth over ten seconds; then there is nothing to think about any more."""
    health = _health()
    _fail(health, 0.0)
    health.passed(5.0)
    shares = [health.share(5.0 + after_s) for after_s in (0.0, 2.5, 5.0, 7.5, 10.0)]
    assert shares == pytest.approx([0.1, 0.325, 0.55, 0.775, 1.0])
    health.passed(14.9)
    assert not health.is_plain
    health.passed(15.0)
    assert health.is_plain


def test_without_a_slow_start_a_pool_has_its_whole_share_at_once() -> None:
    """Where the operator wants none."""
    health = _health(HealthRules(slow_start_s=0.0))
    health.is_new(0.0)
    assert (health.share(0.0), health.is_plain) == (1.0, True)
    _fail(health, 0.0)
    health.passed(5.0)
    assert (health.share(5.0), health.is_plain) == (1.0, True)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["answer", "failure", "probe", "no probe", "outlier", "new", "time"]), st.floats(0.0, 30.0)
        ),
        max_size=60,
    )
)
def test_whatever_happens_an_ejection_is_bounded_and_a_share_is_one(events: list[tuple[str, float]]) -> None:
    """No ejection is over a minute, later events never prolong one, and shares stay between a tenth and one."""
    health, now_s, until_s = _health(), 0.0, 0.0
    for event, after_s in events:
        now_s += after_s
        health.passed(now_s)
        was_ejected, until_s = health.is_ejected, health.ejected_until_s
        match event:
            case "answer":
                changed = health.was_answered(now_s)
            case "failure":
                changed = health.was_not_answered(now_s)
            case "probe" | "no probe":
                changed = health.was_probed(now_s, is_there=event == "probe")
            case "outlier":
                changed = health.was_outlier(now_s)
            case "new":
                changed = False
                health.is_new(now_s)
            case _:
                changed = health.passed(now_s)
        assert changed == (health.is_ejected != was_ejected)
        if health.is_ejected and was_ejected:
            assert health.ejected_until_s == until_s
        elif health.is_ejected:
            assert RULES.base_s - 1e-6 <= health.ejected_until_s - now_s <= RULES.longest_s + 1e-6
        assert RULES.first_share <= health.share(now_s) <= 1.0
        assert not (health.is_plain and (health.is_ejected or health.share(now_s) < 1.0))
    health.passed(now_s + RULES.longest_s)
    assert not health.is_ejected


@pytest.mark.parametrize(
    ("tallies", "found"),
    [
        pytest.param({"a": (60, 40), "b": (99, 1)}, ["a"], id="clearly more than the other"),
        pytest.param({"a": (60, 40), "b": (60, 40)}, [], id="all alike: it is not the pool"),
        pytest.param({"a": (85, 15), "b": (100, 0)}, [], id="a little more"),
        pytest.param({"a": (0, 19), "b": (100, 0)}, [], id="too few requests to tell"),
        pytest.param({"a": (0, 100), "b": (9, 0)}, [], id="too few at the others"),
        pytest.param({"a": (50, 50), "b": (50, 0), "c": (50, 0)}, ["a"], id="one of three"),
        pytest.param({"a": (10, 90), "b": (10, 90), "c": (500, 0)}, ["a", "b"], id="two of three"),
        pytest.param({"a": (10, 90)}, [], id="nobody to compare with"),
        pytest.param({}, [], id="nobody"),
    ],
)
def test_an_outlier_fails_clearly_more_than_the_others(tallies: dict[str, tuple[int, int]], found: list[str]) -> None:
    """By a fifth of the requests, where both have enough of them."""
    assert outliers({name: Tally(*counts) for name, counts in tallies.items()}, RULES) == found


@given(st.dictionaries(st.integers(0, 9), st.tuples(st.integers(0, 500), st.integers(0, 500)).map(lambda c: Tally(*c))))
def test_not_all_are_outliers(tallies: dict[int, Tally]) -> None:
    """Who fails more than all the others together is never everybody."""
    assert len(outliers(tallies, RULES)) < max(1, len(tallies))


def test_a_window_is_counted_once() -> None:
    """What was taken does not count in the next one."""
    health = _health()
    health.was_answered(0.0)
    health.was_not_answered(0.0)
    assert health.take_tally() == Tally(1, 1)
    assert health.take_tally() == Tally(0, 0)


@pytest.mark.parametrize(
    ("verdict", "status", "outcome"),
    [
        pytest.param(Verdict.FORWARD, 200, True, id="an answer"),
        pytest.param(Verdict.FORWARD, 503, True, id="a pool's own 503"),
        pytest.param(Verdict.MISDIRECTED, 421, True, id="421"),
        pytest.param(Verdict.NOT_FOUND, 404, True, id="a pool's 404"),
        pytest.param(Verdict.WRAP, 500, True, id="a model server's 500"),
        pytest.param(Verdict.WRAP, 504, None, id="an activator whose time was up"),
        pytest.param(Verdict.NO_REPLICA, 503, False, id="a gateway without a replica"),
        pytest.param(Verdict.UNROUTED, 404, False, id="a gateway that does not know the pool"),
    ],
)
def test_an_answer_says_whether_a_replica_is_there(verdict: Verdict, status: int, outcome: object) -> None:
    """Errors of replicas are answers."""
    assert outcome_of(verdict, status) is outcome
