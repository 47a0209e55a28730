"""Bots that are loaded again and again add pools to their family, slowly; without reloads they go, more slowly."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.fleet import Snapshot
from botshard.sharding.hashing import family_id
from botshard.sharding.placement import place
from botshard.sharding.reloads import (
    QUIET_S,
    SUSTAINED_S,
    UNKNOWN_RATES,
    ReloadRates,
    ReloadWatch,
    pools_for_reloads,
)
from tests.sharding.building import MIB, TORCH, group, loads, only_family, settled, snapshot

LAZY = group(TORCH.group, pool_memory_bytes=100 * MIB, bots_per_pool=10_000, overcommit=10.0, pool_reloads_per_s=0.5)
FAMILY = family_id(TORCH)
BUSY = ReloadRates(0.6, 0.9)
IN_BETWEEN = ReloadRates(0.2, 0.6)
QUIET = ReloadRates(0.0, 0.01)


def _with(seen: Snapshot, rates: ReloadRates) -> Snapshot:
    return replace(seen, reloads={FAMILY: rates})


def _pools(seen: Snapshot) -> int:
    return len(only_family(place(seen)).pools)


def test_overcommit_places_more_bots_than_fit_into_memory() -> None:
    """400 MiB of bots in one pool of 100 MiB; a bot larger than that is refused all the same."""
    assert _pools(snapshot(loads(400), LAZY)) == 1
    assert _pools(snapshot(loads(400), replace(LAZY, overcommit=1.0))) >= 5
    (huge,) = loads(1, footprint_bytes=150 * MIB)
    placement = place(snapshot((huge,), LAZY))
    assert [refusal.bot for refusal in placement.refused] == [huge.id]
    assert "has 100.0 MiB" in placement.refused[0].reason


def test_a_rate_over_the_threshold_adds_one_pool_at_a_time_and_a_quiet_one_takes_one_away() -> None:
    """In between, and while nobody knows, the number of pools stays."""
    seen = snapshot(loads(400), LAZY)
    seen = settled(seen, place(seen))
    counts = [_pools(seen)]
    for rates in (BUSY, UNKNOWN_RATES, IN_BETWEEN, BUSY, IN_BETWEEN, QUIET, UNKNOWN_RATES, QUIET, QUIET):
        seen = settled(_with(seen, rates), place(_with(seen, rates)))
        counts.append(_pools(_with(seen, UNKNOWN_RATES)))
    assert counts == [1, 2, 2, 2, 3, 3, 2, 2, 1, 1]


def test_a_family_gets_no_more_pools_than_hold_all_its_bots_at_once() -> None:
    """Whatever is reloaded then is not for want of memory."""
    seen = snapshot(loads(150), LAZY)
    for _ in range(8):
        seen = settled(_with(seen, BUSY), place(_with(seen, BUSY)))
    assert _pools(seen) == 2


def test_a_group_without_a_threshold_goes_by_its_bots_alone() -> None:
    """Which is what every group does that says nothing of reloads."""
    seen = snapshot(loads(400), replace(LAZY, pool_reloads_per_s=0.0))
    assert _pools(_with(settled(seen, place(seen)), BUSY)) == 1


@pytest.mark.parametrize(
    ("rates", "present", "most", "expected"),
    [
        pytest.param(BUSY, 3, 9, 4, id="busy"),
        pytest.param(BUSY, 3, 3, 3, id="busy, but all are resident"),
        pytest.param(IN_BETWEEN, 3, 9, 3, id="in between"),
        pytest.param(UNKNOWN_RATES, 3, 9, 3, id="unknown"),
        pytest.param(QUIET, 3, 9, 2, id="quiet"),
        pytest.param(BUSY, 0, 9, 0, id="not placed yet"),
    ],
)
def test_the_floor_follows_rate_and_pools(rates: ReloadRates, present: int, most: int, expected: int) -> None:
    """Nothing else is remembered."""
    assert pools_for_reloads(rates, LAZY, present=present, most=most) == expected


def test_a_burst_is_not_sustained() -> None:
    """One look below the threshold makes the wait begin anew."""
    watch = ReloadWatch()
    for step in range(40):
        rate = 0.1 if step == 20 else 5.0
        watch.note(FAMILY, rate, pools=1, now_s=step * 10.0)
    assert watch.rates(FAMILY, now_s=390.0).lowest_per_s == 0.1
    for step in range(40, 60):
        watch.note(FAMILY, 5.0, pools=1, now_s=step * 10.0)
    assert watch.rates(FAMILY, now_s=590.0).lowest_per_s == 5.0


def test_nothing_is_known_before_somebody_has_watched_for_long_enough() -> None:
    """After a restart of the controller, and after each change of the number of pools."""
    watch = ReloadWatch()
    for step in range(int(QUIET_S / 10) + 1):
        watch.note(FAMILY, 1.0, pools=1, now_s=step * 10.0)
        known = watch.rates(FAMILY, now_s=step * 10.0)
        assert known.lowest_per_s == (1.0 if step * 10 >= SUSTAINED_S else 0.0)
        assert known.highest_per_s == (1.0 if step * 10 >= QUIET_S else inf)
    watch.note(FAMILY, 1.0, pools=2, now_s=QUIET_S + 10)
    assert watch.rates(FAMILY, now_s=QUIET_S + 10) == UNKNOWN_RATES
    watch.forget_others(set())
    assert watch.rates(FAMILY, now_s=QUIET_S + 20) == UNKNOWN_RATES


@given(st.lists(st.floats(0.0, 10.0), min_size=50, max_size=50), st.floats(5.0, 60.0))
def test_what_is_known_is_bounded_by_what_was_seen(seen: list[float], pause_s: float) -> None:
    """Lowest and highest are rates that somebody reported, the lowest one of the last minutes."""
    watch = ReloadWatch()
    for at, rate in enumerate(seen):
        watch.note(FAMILY, rate, pools=1, now_s=at * pause_s)
    now_s = (len(seen) - 1) * pause_s
    known = watch.rates(FAMILY, now_s=now_s)
    late = [rate for at, rate in enumerate(seen) if at * pause_s > now_s - SUSTAINED_S]
    assert known.lowest_per_s <= min(late)
    assert known.highest_per_s >= max(late)
