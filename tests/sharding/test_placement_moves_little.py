"""How much moves when something changes."""

from __future__ import annotations

import random
from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.fleet import BotLoad, Snapshot
from botshard.sharding.invariants import check_placement
from botshard.sharding.placement import FamilyPlacement, place
from botshard.sharding.weights import Weight, shard_weights
from tests.sharding.building import MIB, QUICK, TORCH, group, loads, moved_bots, only_family, settled, snapshot


def grown(seen: Snapshot, bots: tuple[BotLoad, ...]) -> tuple[FamilyPlacement, FamilyPlacement]:
    """The placement of a settled fleet, and the one with other bots."""
    before = place(seen)
    after = place(replace(settled(seen, before), bots=bots))
    return only_family(before), only_family(after)


def over_capacity(family: FamilyPlacement, bots: tuple[BotLoad, ...], capacity: Weight) -> int:
    """Bots beyond the bound, in all pools together, and the rest of one shard a pool, which must go with them."""
    carried = dict.fromkeys(family.pools, 0)
    weights = shard_weights(bots, family.bits, capacity)
    for shard, pools in enumerate(family.shards):
        for pool in pools:
            carried[pool] += int(weights[shard].bots)
    largest = int(max(weight.bots for weight in weights))
    return sum(count - int(capacity.bots) + largest for count in carried.values() if count > capacity.bots)


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("pools", [4, 16, 32])
def test_one_more_pool_moves_its_ideal_share(pools: int, replicas: int) -> None:
    """1/(n + 1) of the bots, 1.1 times at most, and what did not fit where it was: in each of several families."""
    per_pool = 100
    room = int(pools * per_pool * 0.8 / replicas)
    for pin in "abcd":
        key = replace(TORCH, pin=pin)
        seen = snapshot(loads(room, key), group(bots_per_pool=per_pool, shard_replicas=replicas))
        more = tuple(seen.bots) + loads(3, key, prefix="straw")
        before, after = grown(seen, more)
        assert (len(before.pools), len(after.pools)) == (pools, pools + 1)
        assert set(before.pools) < set(after.pools)
        ideal = replicas * len(more) / (pools + 1)
        cured = over_capacity(before.split_to(after.bits), more, Weight(2**60, per_pool))
        assert moved_bots(before, after, more) <= ceil(1.1 * ideal) + cured


@given(count=st.integers(1, 600), replicas=st.integers(1, 3), grow=st.integers(0, 200))
@QUICK
def test_any_growth_moves_the_ideal_share_of_its_new_pools(count: int, replicas: int, grow: int) -> None:
    """However many pools come at once; pools that stay take nothing but what overflowed elsewhere."""
    seen = snapshot(loads(count), group(bots_per_pool=50, shard_replicas=replicas))
    more = tuple(seen.bots) + loads(grow, prefix="more")
    before, after = grown(seen, more)
    came = len(set(after.pools).difference(before.pools))
    ideal = came * replicas * len(more) / len(after.pools)
    cured = over_capacity(before.split_to(after.bits), more, Weight(2**60, 50))
    assert moved_bots(before, after, more) <= ceil(1.1 * ideal) + cured


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_split_moves_no_more_than_the_new_pool_takes(replicas: int) -> None:
    """Bots that were there stay when their shards are divided: where a shard is, both halves are."""
    bounds = group(bots_per_pool=200, shard_replicas=replicas)
    seen = snapshot(loads(780 // replicas, footprint_bytes=1), bounds)
    before = only_family(place(seen))
    dense = loads(40_000, footprint_bytes=1, prefix="dense")
    crowded = [bot for bot in dense if bot.hash >> (64 - before.bits) == 5][:90]
    bots = (*seen.bots, *crowded)
    after = only_family(place(replace(settled(seen, place(seen)), bots=bots)))
    came = len(set(after.pools).difference(before.pools))
    assert (after.bits > before.bits, came) == (True, 1)
    ideal = replicas * len(bots) / len(after.pools)
    cured = over_capacity(before.split_to(after.bits), bots, Weight(2**60, 200))
    assert moved_bots(before, after, bots) <= ceil(1.1 * ideal) + cured


def test_more_replicas_keep_the_pools_that_a_shard_has() -> None:
    """K = 1 to 2 adds a pool to each shard; 2 to 1 takes the worse one away."""
    one = snapshot(loads(150), group(shard_replicas=1))
    two = replace(settled(one, place(one)), groups=snapshot([], group(shard_replicas=2)).groups)
    before, after = only_family(place(one)), only_family(place(two))
    stayed = sum(
        set(pools) <= set(after.shards[shard]) for shard, pools in enumerate(before.split_to(after.bits).shards)
    )
    assert stayed >= 0.6 * len(after.shards)  # those whose pool lost its place to a better new one are the rest
    back = replace(settled(two, place(two)), groups=one.groups)
    assert all(pools[0] in after.shards[shard] for shard, pools in enumerate(only_family(place(back)).shards))


def test_pools_go_when_the_rest_is_enough_and_only_then() -> None:
    """Added above 80 %, taken away where 65 % would not be exceeded."""
    seen = snapshot(loads(400))
    assert len(only_family(place(seen)).pools) == 5
    now = settled(seen, place(seen))
    counts = {
        kept: len(only_family(place(replace(now, bots=tuple(now.bots)[:kept]))).pools) for kept in (325, 261, 260, 195)
    }
    assert counts == {325: 5, 261: 5, 260: 4, 195: 3}


@pytest.mark.parametrize("pools", [2, 5, 20])
def test_noise_of_a_tenth_makes_no_pool_come_and_go(pools: int) -> None:
    """Measured weights wander; pools must not. After the first steps up, nothing comes and nothing goes."""
    rng = random.Random(pools)
    for fill in (0.66, 0.7, 0.75, 0.79):
        bots = loads(int(pools * 100 * fill), footprint_bytes=MIB)
        bounds = group(bots_per_pool=10_000)
        now = snapshot(bots, bounds)
        counts = []
        for _ in range(12):
            swing = rng.choice((0.9, 1.0, 1.1))
            noisy = tuple(
                replace(bot, footprint_bytes=int(bot.footprint_bytes * swing * rng.uniform(0.98, 1.02))) for bot in bots
            )
            now = replace(now, bots=noisy)
            placement = place(now)
            assert check_placement(placement, now) == []
            counts.append(len(only_family(placement).pools))
            now = settled(now, placement)
        assert counts == sorted(counts), (fill, counts)
