"""How far one bot reaches, and that a group's limit on it is kept by adding pools or by refusing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from botshard.sharding.blast import blast_radius, fewest_pools, worst_by_group
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import BotLoad
from botshard.sharding.ids import Framework
from botshard.sharding.invariants import check_placement
from botshard.sharding.placement import FamilyPlacement, Placement, place
from botshard.sharding.plan import plan
from tests.sharding.building import LIGHT, REALTIME, TORCH, group, loads, only_family, published, settled, snapshot

OTHER = FamilyKey(REALTIME, Framework("torch"), "minilm")


def _by_pairs(family: FamilyPlacement, bots: tuple[BotLoad, ...]) -> int:
    """The same number the slow way: every bot against every other."""
    pools = [set(family.shards[bot.hash >> (64 - family.bits)]) for bot in bots]
    return max(sum(theirs <= mine for theirs in pools) - 1 for mine in pools)


@LIGHT
@given(st.integers(1, 60), st.integers(1, 3), st.integers(1, 6))
def test_counting_by_sets_of_pools_is_counting_by_pairs_of_bots(count: int, k: int, at_least: int) -> None:
    """For any fleet, the fast way and the slow way agree, and the example does what is said of it."""
    seen = snapshot(loads(count), group(shard_replicas=k, bots_per_pool=20))
    seen = replace(seen, more_pools={only_family(place(seen)).id: at_least})
    placement = place(seen)
    family = only_family(placement)
    worst = blast_radius(placement, seen.bots)[family.id]
    assert worst.lost == _by_pairs(family, tuple(seen.bots))
    assert worst.others == count - 1
    example = next(bot for bot in seen.bots if bot.id == worst.bot)
    assert tuple(sorted(family.shards[example.hash >> (64 - family.bits)])) == worst.pools


def test_the_others_are_those_of_the_whole_group() -> None:
    """A bot of a small family in a big group takes little of it along; the worst of a group is that of its families."""
    seen = snapshot((*loads(30), *loads(10, OTHER, prefix="mini")))
    worst = blast_radius(place(seen), seen.bots)
    assert sorted((radius.lost, radius.others) for radius in worst.values()) == [(9, 39), (29, 39)]
    assert worst_by_group(worst)[REALTIME].lost == 29
    assert worst_by_group(worst)[REALTIME].share == pytest.approx(29 / 39)


def test_refused_bots_and_empty_families_count_nowhere() -> None:
    """One bot alone takes nobody along; a family without bots has no example."""
    seen = snapshot(loads(1))
    placement = place(seen)
    (alone,) = blast_radius(placement, seen.bots).values()
    assert (alone.lost, alone.share, alone.bot) == (0, 0.0, "bot-0")
    (nobody,) = blast_radius(placement, ()).values()
    assert (nobody.bot, nobody.share, nobody.pools) == (None, 0.0, ())


@pytest.mark.parametrize(("k", "limit"), [(1, 0.3), (1, 0.12), (2, 0.1)], ids=["k1 30 %", "k1 12 %", "k2 10 %"])
def test_a_first_placement_adds_pools_until_it_keeps_the_limit(k: int, limit: float) -> None:
    """Two pools would do for the memory; placing again changes nothing."""
    seen = snapshot(loads(150), group(shard_replicas=k, blast_radius_limit=limit))
    placement = place(seen)
    family = only_family(placement)
    assert len(family.pools) > k
    assert blast_radius(placement, seen.bots)[family.id].share <= limit
    assert check_placement(placement, seen) == []
    assert place(settled(seen, placement)) == placement


@pytest.mark.parametrize("limit", [0.05, 0.2, 0.5])
def test_few_bots_that_come_one_by_one_are_kept_apart(limit: float) -> None:
    """As they are when they come together: new pools take bots although each is more than a pool's fair share."""
    bots = loads(20, prefix="x0")
    seen = snapshot(bots[:1], group(blast_radius_limit=limit))
    for count in range(1, len(bots) + 1):
        seen = replace(seen, bots=bots[:count])
        placement = place(seen)
        assert not placement.refused
        assert not placement.held
        assert blast_radius(placement, seen.bots)[only_family(placement).id].share <= limit
        seen = settled(seen, placement)


def test_a_first_placement_that_no_number_of_pools_saves_is_refused_with_the_numbers() -> None:
    """Three hundred bots in 64 pools cannot be kept apart."""
    placement = place(snapshot(loads(300), group(blast_radius_limit=0.001)))
    assert not placement.families
    assert len(placement.refused) == 300
    assert "64 pools" in placement.refused[0].reason
    assert "the limit is 0.1%" in placement.refused[0].reason


def test_a_change_over_the_limit_is_refused_and_the_placement_in_force_stays() -> None:
    """From k = 2 to 1 in a group whose limit k = 1 cannot keep: nothing moves, one sentence says why."""
    strict = group(shard_replicas=2, blast_radius_limit=0.015)
    seen = snapshot(loads(300), strict)
    first = place(seen)
    now = settled(seen, first)
    wished = replace(now, groups={REALTIME: replace(strict, shard_replicas=1)})
    placement = place(wished)
    family = only_family(first)
    assert only_family(placement) == family
    assert "stays as it is" in placement.held[family.id]
    assert check_placement(placement, wished) == []
    step = plan(wished, placement, now_s=0.0, grace_s=1.0)
    assert step.waiting == step.held == (placement.held[family.id],)
    assert step.table is None
    assert step.is_settled


def test_what_makes_a_blast_radius_smaller_is_done_though_it_is_not_small_enough_yet() -> None:
    """A limit that 64 pools do not keep: more pools than there are come all the same, and that is told."""
    seen = snapshot(loads(300))
    now = settled(seen, place(seen))
    strict = replace(now, groups={REALTIME: group(blast_radius_limit=0.001)})
    placement = place(strict)
    before = blast_radius(Placement({only_family(place(seen)).id: only_family(place(seen))}), seen.bots)
    after = blast_radius(placement, seen.bots)
    assert max(one.share for one in after.values()) < max(one.share for one in before.values())
    assert "the limit is 0.1%" in placement.held[only_family(placement).id]


def test_fewest_pools_is_a_bound_that_grows_with_the_bots() -> None:
    """With k = 1 and a tenth: ten pools; nobody else: one."""
    counts = [fewest_pools(bots, bots - 1, replicas=1, limit=0.1) for bots in (1, 10, 100, 1000)]
    assert counts[-1] == 10
    assert all(few <= many for few, many in pairwise(counts))
    assert fewest_pools(100, 99, replicas=2, limit=0.1) == 5


@LIGHT
@example(2, 0.05, 3)
@given(st.integers(1, 40), st.sampled_from([0.05, 0.2, 0.5, 1.0]), st.integers(1, 3))
def test_a_limit_is_kept_or_a_sentence_says_why_not(count: int, limit: float, k: int) -> None:
    """Of any fleet, also after it has grown; and the same again from its own result."""
    spec = group(shard_replicas=k, blast_radius_limit=limit)
    seen = snapshot(loads(count), spec)
    table = None
    for bots in (count, 2 * count):
        seen = snapshot(loads(bots), spec, table)
        placement = place(seen)
        shares = [one.share for one in blast_radius(placement, seen.bots).values()]
        assert all(share <= limit for share in shares) or placement.held
        assert not placement.refused
        table = published(placement, seen)
    assert place(snapshot(seen.bots, spec, table)).families == placement.families
    assert TORCH in {family.key for family in placement.families.values()}
