"""What an operator asks for beyond groups: pools that are to be left, and pools that are to be there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.hashing import pool_name
from botshard.sharding.ids import FamilyId, GroupName
from botshard.sharding.invariants import check_placement
from botshard.sharding.placement import place
from tests.sharding.building import LIGHT, group, loads, moved_bots, only_family, settled, snapshot

ELSEWHERE = pool_name(GroupName("elsewhere"), FamilyId("torch-00000000"), 0)


@LIGHT
@given(st.integers(1, 300), st.integers(1, 3), st.data())
def test_a_drained_pool_is_left_and_only_its_own_shards_move(count: int, k: int, data: st.DataObject) -> None:
    """Where there is room in the others, what was elsewhere stays there; and placing again changes nothing."""
    seen = snapshot(loads(count), group(shard_replicas=k))
    seen = replace(seen, more_pools={only_family(place(seen)).id: 5})
    before = only_family(place(seen))
    now = settled(seen, place(seen))
    victim = data.draw(st.sampled_from(before.pools))
    drained = replace(now, leaving=frozenset({victim}))
    placement = place(drained)
    after = only_family(placement)
    assert victim not in after.pools
    assert check_placement(placement, drained) == []
    was_there = sum(victim in before.shards[bot.hash >> (64 - before.bits)] for bot in seen.bots)
    came = [name for name in after.pools if name not in before.pools]
    assert moved_bots(before, after, seen.bots) <= was_there + len(came) * count * k / len(after.pools)
    assert place(settled(drained, placement)).families == placement.families


def test_the_name_of_a_drained_pool_is_given_to_no_new_one() -> None:
    """Its ordinal is free only when it is gone for good."""
    seen = snapshot(loads(150))
    before = only_family(place(seen))
    first = pool_name(before.key.group, before.id, 0)
    drained = replace(settled(seen, place(seen)), leaving=frozenset({first}), more_pools={before.id: 3})
    after = only_family(place(drained))
    assert first not in after.pools
    assert len(after.pools) == 3
    gone = replace(settled(drained, place(drained)), leaving=frozenset(), more_pools={before.id: 4})
    assert first in only_family(place(gone)).pools


def test_all_pools_at_once_may_be_drained() -> None:
    """As many others come."""
    seen = snapshot(loads(150))
    before = only_family(place(seen))
    drained = replace(settled(seen, place(seen)), leaving=frozenset(before.pools))
    after = only_family(place(drained))
    assert not set(after.pools) & set(before.pools)
    assert len(after.pools) == len(before.pools)


def test_a_pool_of_nobody_is_drained_at_no_cost() -> None:
    """A family does not care for names that are not its own."""
    seen = settled(snapshot(loads(50)), place(snapshot(loads(50))))
    assert place(replace(seen, leaving=frozenset({ELSEWHERE}))).families == place(seen).families


@pytest.mark.parametrize(("wanted", "pools"), [(1, 2), (3, 3), (6, 6)], ids=["fewer", "one more", "many more"])
def test_more_pools_are_a_floor(wanted: int, pools: int) -> None:
    """They come evenly filled, and go again when nobody asks for them any more."""
    seen = snapshot(loads(150))
    family = only_family(place(seen)).id
    now = settled(seen, place(seen))
    more = replace(now, more_pools={family: wanted})
    placement = place(more)
    assert len(only_family(placement).pools) == pools
    assert check_placement(placement, more) == []
    shards = len(only_family(placement).shards) / pools
    carried = [sum(name in row for row in only_family(placement).shards) for name in only_family(placement).pools]
    assert max(carried) <= 1.6 * shards
    later = replace(settled(more, placement), more_pools={})
    assert len(only_family(place(later)).pools) <= 3
