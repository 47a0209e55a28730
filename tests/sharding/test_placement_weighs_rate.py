"""Requests a second are a dimension of their own, where a group bounds them; and pools come out even."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.fleet import BotLoad, Snapshot
from botshard.sharding.invariants import check_placement
from botshard.sharding.placement import FamilyPlacement, place
from botshard.sharding.weights import Weight, capacity_of, shard_weights, weight_of
from tests.sharding.building import MIB, QUICK, group, load, loads, moved_bots, only_family, settled, snapshot

BUSY = group(pool_memory_bytes=10_000 * MIB, bots_per_pool=100_000, pool_rate_per_s=100.0)


def busy(bots: tuple[BotLoad, ...], rates: list[float]) -> tuple[BotLoad, ...]:
    """The same bots, asked so often."""
    return tuple(replace(bot, rate_per_s=rate) for bot, rate in zip(bots, rates, strict=True))


def carried(family: FamilyPlacement, seen: Snapshot) -> list[Weight]:
    """What each pool carries."""
    capacity = capacity_of(seen.groups[family.key.group])
    pools = dict.fromkeys(family.pools, Weight())
    for weight, names in zip(shard_weights(seen.bots, family.bits, capacity), family.shards, strict=True):
        for name in names:
            pools[name] += weight
    return list(pools.values())


def test_rate_adds_pools_where_the_group_bounds_it() -> None:
    """1,000 requests a second against 100 a pool, filled to 80 %."""
    seen = snapshot(busy(loads(500), [2.0] * 500), BUSY)
    assert len(only_family(place(seen)).pools) == 13
    assert check_placement(place(seen), seen) == []


def test_rate_adds_no_pool_without_a_bound() -> None:
    """It scales replicas then, whatever it is."""
    asked = snapshot(busy(loads(400), [1000.0] * 400))
    assert only_family(place(asked)).pools == only_family(place(snapshot(loads(400)))).pools


@pytest.mark.parametrize(("pools", "replicas"), [(8, 1), (16, 2), (32, 4)])
def test_pools_are_even_in_bytes_and_requests_at_once(pools: int, replicas: int) -> None:
    """Under Zipf's law, where no single shard has more than a pool's mean, no pool has 1.1 times the mean of either."""
    draw = random.Random(pools)
    total = sum(1 / rank for rank in range(1, 20_001))
    rates = [1000 / rank / total for rank in range(1, 20_001)]
    draw.shuffle(rates)
    sizes = [int(MIB * draw.uniform(0.5, 1.5)) for _ in rates]
    bots = tuple(replace(bot, footprint_bytes=size) for bot, size in zip(loads(20_000), sizes, strict=True))
    memory = int(replicas * sum(sizes) / pools / 0.79)
    seen = snapshot(busy(bots, rates), group(pool_memory_bytes=memory, bots_per_pool=10**6, shard_replicas=replicas))
    placed = carried(only_family(place(seen)), seen)
    assert len(placed) == pools
    for loaded in ([weight.footprint_bytes for weight in placed], [weight.rate_milli_per_s for weight in placed]):
        assert max(loaded) <= 1.10 * sum(loaded) / pools


def test_a_bot_too_busy_for_any_pool_counts_as_half_of_one() -> None:
    """Its shard still has room for the bots beside it, and its replicas carry the rest."""
    capacity = capacity_of(BUSY)
    hot = replace(load("hot"), rate_per_s=5000.0)
    assert weight_of(hot, capacity).rate_milli_per_s == capacity.rate_milli_per_s / 2
    seen = snapshot((*busy(loads(200), [0.5] * 200), hot), BUSY)
    family = only_family(place(seen))
    assert check_placement(place(seen), seen) == []
    assert family.bits <= 8


@given(
    rates=st.lists(st.floats(0, 300), min_size=1, max_size=150),
    replicas=st.integers(1, 3),
    change=st.lists(st.floats(0, 300), min_size=150, max_size=150),
)
@QUICK
def test_rates_that_change_keep_every_bound(rates: list[float], replicas: int, change: list[float]) -> None:
    """Whatever bots are asked, before and after, and a placement of its own result is that result."""
    spec = replace(BUSY, shard_replicas=replicas)
    seen = snapshot(busy(loads(len(rates)), rates), spec)
    before = place(seen)
    assert check_placement(before, seen) == []
    later = replace(settled(seen, before), bots=busy(loads(len(rates)), change[: len(rates)]))
    after = place(later)
    assert check_placement(after, later) == []
    assert place(settled(later, after)).families == after.families


@pytest.mark.parametrize(("pools", "most"), [(16, 0.065), (64, 0.018)], ids=["16 to 17", "64 to 65"])
def test_pools_are_even_and_stay_so(pools: int, most: float) -> None:
    """Within 5 % of the mean in bytes at first; after one more pool within 10 %, which moved about 1/n of the bots."""
    draw = random.Random(pools)
    sizes = [int(MIB * draw.uniform(0.5, 1.5)) for _ in range(pools * 300)]
    bots = tuple(replace(bot, footprint_bytes=size) for bot, size in zip(loads(len(sizes)), sizes, strict=True))
    memory = sum(sizes) / pools / 0.79
    spec = group(pool_memory_bytes=int(memory), bots_per_pool=1_000_000)
    seen = snapshot(bots, spec)
    before = only_family(place(seen))
    assert len(before.pools) == pools
    assert unevenness(before, seen) <= 1.05
    tighter = replace(spec, pool_memory_bytes=int(memory * pools / (pools + 0.9)))
    grown = replace(settled(seen, place(seen)), groups={spec.name: tighter})
    after = only_family(place(grown))
    assert len(after.pools) == pools + 1
    assert unevenness(after, grown) <= 1.10
    assert moved_bots(before, after, bots) <= most * len(bots)


def unevenness(family: FamilyPlacement, seen: Snapshot) -> float:
    """The fullest pool against the mean, in bytes."""
    loaded = [weight.footprint_bytes for weight in carried(family, seen)]
    return max(loaded) * len(loaded) / sum(loaded)


def test_hot_bots_do_not_spoil_the_balance_in_bytes() -> None:
    """Zipf traffic over 4,000 bots: no pool is over its bound in either dimension, bytes within 20 % of the mean."""
    draw = random.Random(7)
    ranks = list(range(1, 4001))
    draw.shuffle(ranks)
    total = sum(1 / rank for rank in ranks)
    bots = busy(loads(4000), [800.0 / rank / total for rank in ranks])
    seen = snapshot(bots, replace(BUSY, pool_memory_bytes=320 * MIB))
    placed = place(seen)
    assert check_placement(placed, seen) == []
    assert unevenness(only_family(placed), seen) <= 1.2
