"""Rates and concurrency without a clock of their own: whatever is asked when, the bounds hold."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from botshard.sharding.ids import BotId, TenantId
from botshard.store.access_keys import EVERY_TENANT
from botshard.store.access_limits import AccessLimits, Limit
from router.access.buckets import Bucket, Buckets
from router.access.limiter import Limiter, Taken
from router.errors import LimitedError

ACME, OTHER = TenantId("acme"), TenantId("other")
GAPS_S = st.lists(st.floats(0.0, 3.0, allow_nan=False), min_size=1, max_size=200)


def limiter(limits: AccessLimits, *, workers: int = 1, most: int = 100) -> Limiter:
    """A limiter with limits in force."""
    made = Limiter(workers=workers, most=most)
    made.follow(limits)
    return made


@given(GAPS_S, st.floats(0.1, 50.0), st.integers(1, 20), st.floats(0, 1e6))
def test_no_window_lets_more_in_than_its_burst_and_rate(
    gaps_s: list[float], rate_per_s: float, burst: int, start_s: float
) -> None:
    """In any time at most the burst and the time times the rate; and what is refused is let in after the wait told."""
    bucket = Bucket(Limit(rate_per_s, burst))
    now_s, let_in = start_s, []
    for gap_s in gaps_s:
        now_s += gap_s
        wait_s = bucket.wait_s(now_s)
        if wait_s == 0:
            bucket.take(now_s)
            let_in.append(now_s)
        else:
            assert Bucket.wait_s(bucket, now_s + wait_s) == 0
            assert bucket.wait_s(now_s + wait_s * 0.5) > 0
    for first, from_s in enumerate(let_in):
        for last, to_s in enumerate(let_in[first:], first):
            assert last - first + 1 <= burst + rate_per_s * (to_s - from_s) + 1e-3


@given(GAPS_S, st.integers(1, 5), st.integers(1, 8))
def test_shares_of_routers_add_up_to_the_limit(gaps_s: list[float], rate_per_s: int, shares: int) -> None:
    """Routers among which clients are spread let in, together, what one would; a whole request each at least."""
    buckets = [Bucket(Limit(float(rate_per_s), rate_per_s * shares), shares=shares) for _ in range(shares)]
    now_s = let_in = 0
    for gap_s in gaps_s:
        now_s += gap_s  # type: ignore[assignment]
        for bucket in buckets:
            if bucket.wait_s(now_s) == 0:
                bucket.take(now_s)
                let_in += 1
    assert let_in <= rate_per_s * shares + rate_per_s * (now_s - gaps_s[0]) + 1e-3


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=200), st.integers(1, 8))
def test_forgetting_is_bounded_and_loses_nothing_in_flight(steps: list[tuple[int, bool]], most: int) -> None:
    """However many names come, no more buckets are kept than the bound and those with something in flight."""
    buckets, now_s, peak = Buckets(most=most), 0.0, 0
    held: list[Bucket] = []
    limit = Limit(1.0, 2, 50)
    for name, ends in steps:
        now_s += 0.1
        if ends and held:
            held.pop().give_back(0.1)
            continue
        bucket = buckets.get(f"tenant-{name}", limit, now_s)
        bucket.take(now_s)
        held.append(bucket)
        peak = max(peak, len(set(map(id, held))))
        assert len(buckets) <= most + 2 * peak
        assert buckets.get(f"tenant-{name}", limit, now_s) is bucket
    for bucket in set(held):
        assert bucket.in_flight == sum(one is bucket for one in held)
    while held:
        held.pop().give_back(0.1)
    for name in range(most + 2 * peak):
        buckets.get(f"new-{name}", limit, now_s + 1000.0)
    assert len(buckets) <= most


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([ACME, OTHER, EVERY_TENANT]), st.integers(0, 3)), max_size=100))
def test_what_was_taken_is_given_back_once(asked: list[tuple[TenantId, int]]) -> None:
    """After all have ended, however often each was told to end, nothing is in flight and all fit in again."""
    limits = AccessLimits(tenant=Limit(concurrency=4), bot=Limit(concurrency=3), shared_concurrency=5)
    found = limiter(limits)
    open_now: list[Taken] = []
    in_flight: Counter[TenantId] = Counter()
    for tenant, bot in asked:
        try:
            taken = found.take(tenant, f"bot-{bot}", 1.0)
        except LimitedError:
            if len(open_now) > 2:
                open_now.pop(0).give_back(2.0)
            continue
        assert taken is not None
        open_now.append(taken)
        in_flight[tenant] += 1
    for taken in open_now:
        taken.give_back(3.0)
        taken.give_back(4.0)
    assert "in_flight=0" in repr(found)
    for _ in range(3):
        assert found.take(ACME, "bot-0", 5.0) is not None


def test_a_refusal_of_the_bot_costs_the_tenant_nothing() -> None:
    """All limits are looked at before anything is taken."""
    found = limiter(AccessLimits(tenant=Limit(1.0, 2), bots={BotId("busy"): Limit(concurrency=1)}))
    assert found.take(ACME, "busy", 0.0) is not None
    with pytest.raises(LimitedError) as caught:
        found.take(ACME, "busy", 0.0)
    assert caught.value.cause == "bot_concurrency"
    assert found.take(ACME, "idle", 0.0) is not None
    with pytest.raises(LimitedError, match="tenant 'acme' is asked more often than 1 times") as refused:
        found.take(ACME, "idle", 0.25)
    assert refused.value.retry_after_s == pytest.approx(0.75)
    assert found.limited == {"bot_concurrency": 1, "tenant_rate": 1}


def test_limits_change_while_requests_are_in_flight() -> None:
    """What is in flight stays counted; the new bound holds at once; without limits nothing is kept."""
    found = limiter(AccessLimits(tenant=Limit(concurrency=2)))
    first, second = found.take(ACME, "bot", 0.0), found.take(ACME, "bot", 0.0)
    assert first is not None
    assert second is not None
    found.follow(AccessLimits(tenant=Limit(concurrency=1)))
    first.give_back(1.0)
    with pytest.raises(LimitedError):
        found.take(ACME, "bot", 1.0)
    second.give_back(1.0)
    assert found.take(ACME, "bot", 1.0) is not None
    assert limiter(AccessLimits()).take(ACME, "bot", 1.0) is None


def test_a_bot_that_is_found_late_has_its_limit_too() -> None:
    """A request that came before the router knew the bot takes part in it, and gives it back."""
    found = limiter(AccessLimits(bot=Limit(concurrency=1)))
    late = found.take(ACME, None, 0.0)
    assert late is not None
    late.also("new", 0.0)
    with pytest.raises(LimitedError):
        found.take(ACME, "new", 0.0)
    late.give_back(1.0)
    assert found.take(ACME, "new", 1.0) is not None


def _p99_of_others_s(shared: int | None, *, greedy: int, seed: int) -> float:
    """Simulated: a pool of eight places, five tenants at a fifth of it, one of them at `greedy` times that."""
    places, service_s, tenants = 8, 0.02, 5
    found = limiter(AccessLimits(shared_concurrency=shared))
    chance = random.Random(seed)
    rate_per_s = 0.7 * places / service_s / tenants
    arrivals: list[tuple[float, TenantId]] = []
    for index in range(tenants):
        at_s, rate = 0.0, rate_per_s * (greedy if index == 0 else 1)
        while at_s < 20.0:
            at_s += chance.expovariate(rate)
            arrivals.append((at_s, TenantId(f"tenant-{index}")))
    busy_until_s = [0.0] * places
    ends: list[tuple[float, int, Taken | None]] = []
    took_s: list[float] = []
    for number, (at_s, tenant) in enumerate(sorted(arrivals)):
        while ends and ends[0][0] <= at_s:
            ended_s, _, taken = heapq.heappop(ends)
            if taken is not None:
                taken.give_back(ended_s)
        try:
            taken = found.take(tenant, "bot", at_s)
        except LimitedError:
            continue
        end_s = max(at_s, heapq.heappop(busy_until_s)) + chance.uniform(0.5, 1.5) * service_s
        heapq.heappush(busy_until_s, end_s)
        heapq.heappush(ends, (end_s, number, taken))
        if tenant != "tenant-0":
            took_s.append(end_s - at_s)
    return sorted(took_s)[len(took_s) * 99 // 100]


def test_a_tenant_at_ten_times_its_share_does_not_slow_down_the_others() -> None:
    """The others' p99 is at most 1.5 times what it is when all keep to their shares; without the bound, ten times.

    A pool that takes eight at once, one that asks for 1.4 pools' worth, on a clock of its own.
    """
    for seed in range(5):
        alone_s = _p99_of_others_s(8, greedy=1, seed=seed)
        beside_s = _p99_of_others_s(8, greedy=10, seed=seed)
        unbounded_s = _p99_of_others_s(None, greedy=10, seed=seed)
        assert beside_s <= 1.5 * alone_s
        assert unbounded_s > 10 * alone_s
