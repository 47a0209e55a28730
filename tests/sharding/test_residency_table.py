"""The life of a bot on a replica: every pair of state and event."""

from __future__ import annotations

import pytest

from botshard.sharding.errors import CallerError
from botshard.sharding.residency import TRANSITIONS, Residency, ResidencyEvent, step

R, E = Residency, ResidencyEvent
# Written out once more, not read from the table: a row that changes by mistake is seen here.
LEGAL = {
    (R.ABSENT, E.LOAD, R.LOADING),
    (R.ABSENT, E.FORGET, R.ABSENT),
    (R.LOADING, E.LOADED, R.RESIDENT),
    (R.LOADING, E.LOAD_FAILED, R.FAILED),
    (R.LOADING, E.EVICT, R.DRAINING),
    (R.RESIDENT, E.EVICT, R.DRAINING),
    (R.DRAINING, E.LOADED, R.DRAINING),
    (R.DRAINING, E.LOAD_FAILED, R.ABSENT),
    (R.DRAINING, E.DRAINED, R.ABSENT),
    (R.FAILED, E.LOAD, R.LOADING),
    (R.FAILED, E.FORGET, R.ABSENT),
}


@pytest.mark.parametrize("state", Residency)
@pytest.mark.parametrize("event", ResidencyEvent)
def test_every_pair_is_a_legal_step_or_our_own_mistake(state: Residency, event: ResidencyEvent) -> None:
    """What the table has is done; everything else says what was asked of whom."""
    after = {third for first, second, third in LEGAL if (first, second) == (state, event)}
    if after:
        assert {step(state, event)} == after
    else:
        with pytest.raises(CallerError, match=f"{state} cannot be told '{event.value}'"):
            step(state, event)


def test_no_state_is_a_trap() -> None:
    """From every state a bot can become absent, and from absent it can become resident."""
    reach = {state: {state} for state in Residency}
    for _ in Residency:
        for (before, _event), after in TRANSITIONS.items():
            reach[before] |= reach[after]
    assert all(Residency.ABSENT in states for states in reach.values())
    assert Residency.RESIDENT in reach[Residency.ABSENT]


def test_nothing_leaves_memory_without_draining() -> None:
    """A resident bot answers what it has before it goes."""
    assert {after for (before, _), after in TRANSITIONS.items() if before is Residency.RESIDENT} == {Residency.DRAINING}
