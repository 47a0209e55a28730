"""What is told of a placement before it is carried out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from botshard.sharding.fleet import BotLoad, Snapshot
from botshard.sharding.ids import BotId
from botshard.sharding.placement import place
from botshard.sharding.preview import LOADERS_PER_REPLICA, preview
from tests.sharding.building import (
    LAZY,
    MIB,
    REALTIME,
    TORCH,
    group,
    load,
    loads,
    moved_bots,
    only_family,
    settled,
    snapshot,
)


def _busy(bots: tuple[BotLoad, ...]) -> tuple[BotLoad, ...]:
    return tuple(replace(bot, rate_per_s=float(index % 5)) for index, bot in enumerate(bots))


def _settled(count: int = 300) -> Snapshot:
    seen = snapshot(_busy(loads(count)))
    return settled(seen, place(seen))


def test_a_placement_of_its_own_result_changes_nothing() -> None:
    """No move, no pool, nothing to warm."""
    seen = _settled()
    told = preview(seen, place(seen), load_s={})
    assert told.moves == ()
    assert (told.bots_moved_ratio, told.traffic_moved_ratio, told.ideal_ratio) == (0.0, 0.0, 0.0)
    assert (told.warm_bytes, told.on_demand_bytes, told.warm_s) == (0, 0, 0.0)
    (family,) = told.families
    assert family.busiest_bytes_before == family.busiest_bytes_after
    assert family.blast_before == family.blast_after


def test_one_more_pool_moves_about_its_share() -> None:
    """The numbers are those that counting bot by bot gives."""
    seen = _settled()
    before = only_family(place(seen))
    more = replace(seen, more_pools={before.id: len(before.pools) + 1})
    after = only_family(place(more))
    told = preview(more, place(more), load_s=dict.fromkeys((bot.id for bot in seen.bots), 0.5))
    moved = moved_bots(before, after, seen.bots)
    assert told.bots_moved_ratio == pytest.approx(moved / 300)
    assert sum(move.bots for move in told.moves) == moved
    assert sum(move.bytes for move in told.moves) == told.warm_bytes == moved * MIB
    rate_per_s = sum(bot.rate_per_s for bot in seen.bots)
    assert told.traffic_moved_ratio == pytest.approx(sum(move.rate_per_s for move in told.moves) / rate_per_s)
    assert told.ideal_ratio == pytest.approx(1 / len(after.pools))
    assert told.bots_moved_ratio <= 1.1 * told.ideal_ratio
    (family,) = told.families
    (came,) = family.pools_added
    assert all(move.comes_to == (came,) and len(move.leaves) == 1 for move in told.moves)
    assert told.warm_s == pytest.approx(moved * 0.5 / LOADERS_PER_REPLICA)
    assert family.busiest_bytes_after is not None
    assert family.busiest_rate_after is not None
    assert 1.0 <= family.busiest_bytes_after <= 1.2
    assert family.blast_before is not None
    assert family.blast_after is not None
    assert family.blast_after.share < family.blast_before.share


def test_a_drained_pool_moves_what_is_in_it() -> None:
    """And nothing else, where the others have room: that is the ideal."""
    seen = _settled(200)
    family = only_family(place(seen))
    more = replace(seen, more_pools={family.id: 5})
    seen = settled(more, place(more))
    family = only_family(place(seen))
    drained = replace(seen, leaving=frozenset(family.pools[:1]), more_pools={})
    told = preview(drained, place(drained), load_s={})
    assert told.families[0].pools_removed == family.pools[:1]
    assert told.bots_moved_ratio == pytest.approx(told.ideal_ratio)
    assert told.warm_s is None, "nobody has measured a load"


def test_a_larger_k_moves_the_copies_that_it_adds() -> None:
    """From one pool a shard to two: half of all copies are new; back again: none is."""
    seen = _settled(50)
    wider = replace(seen, groups={REALTIME: group(shard_replicas=2)})
    told = preview(wider, place(wider), load_s={BotId("bot-1"): 1.0})
    assert told.bots_moved_ratio == pytest.approx(0.5)
    assert told.ideal_ratio == pytest.approx(0.5)
    assert all(not move.leaves for move in told.moves)
    assert told.warm_s == pytest.approx(50 / LOADERS_PER_REPLICA), "others are taken to need the mean"
    back = replace(settled(wider, place(wider)), groups=seen.groups)
    told = preview(back, place(back), load_s={})
    assert told.bots_moved_ratio == told.ideal_ratio == 0.0
    assert all(move.leaves and not move.comes_to for move in told.moves)


def test_a_new_family_and_one_that_goes_move_nothing() -> None:
    """What is not served yet is only loaded; what nobody asks for leaves."""
    first = snapshot(loads(20))
    told = preview(first, place(first), load_s={})
    assert told.moves == ()
    assert (told.warm_bytes, told.on_demand_bytes) == (0, 20 * MIB)
    assert told.families[0].blast_before is None
    gone = replace(settled(first, place(first)), bots=())
    told = preview(gone, place(gone), load_s={})
    assert (told.families[0].pools_before, told.families[0].pools_after) == (1, 0)
    assert told.families[0].busiest_bytes_after is None
    assert told.families[0].busiest_bytes_before is None, "no bot, no mean"


def test_pools_that_sleep_load_on_demand() -> None:
    """Where the group is not realtime nothing warms; refused bots count nowhere."""
    lazy = replace(TORCH, group=LAZY)
    seen = snapshot((*loads(150, lazy), load("huge", lazy, footprint_bytes=200 * MIB)), group(LAZY))
    now = settled(seen, place(seen))
    more = replace(now, more_pools={only_family(place(seen)).id: 4})
    told = preview(more, place(more), load_s={})
    assert told.warm_bytes == 0
    assert told.on_demand_bytes == sum(move.bytes for move in told.moves) > 0
    assert told.families[0].bots == 150
