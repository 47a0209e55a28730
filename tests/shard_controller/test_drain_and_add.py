"""An operator's drains and additions, carried out by the loop, whenever a controller dies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from botshard.sharding.ids import FamilyId, PoolName
from botshard.sharding.invariants import check_step
from botshard.store.intents import Intents, change_intents, read_intents
from botshard.store.layout import CONTROLLER_INTENTS, CONTROLLER_STATUS
from shard_controller.reconcile import Reconciler
from tests.shard_controller.world import REALTIME, World, world_of_two_pools


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A settled world of 80 bots in two pools."""
    return world_of_two_pools(tmp_path)


def _drain(world: World, *names: PoolName) -> None:
    change_intents(world.store, lambda now: replace(now, drain=(*now.drain, *names)))


def _family(world: World) -> FamilyId:
    return next(iter(world.table().families))


def _live(world: World, controller: Reconciler | None, turns: int = 24) -> None:
    """Turns of one controller, or of a new one each; every published step is make before break."""
    before = world.table()
    for _ in range(turns):
        world.now_s += 2.0
        (controller or world.controller()).reconcile()
        world.keep()
        world.warm()
        after = world.table()
        assert after.epoch == before.epoch or not check_step(before, after)
        before = after


@pytest.mark.parametrize("dies", [False, True], ids=["one controller", "killed at each turn"])
def test_a_drained_pool_is_left_removed_and_forgotten(world: World, *, dies: bool) -> None:
    """Its bots move to the others, make before break; then the intent is dropped and nothing is left to do."""
    victim, other = sorted(world.table().pools)
    _drain(world, victim)
    controller = world.controller()
    _live(world, None if dies else controller)
    assert victim not in world.table().pools
    assert other in world.table().pools
    assert victim not in {spec.name for spec in world.home.specs() or ()}
    assert read_intents(world.store) == Intents()
    world.settle(world.controller())


@pytest.mark.parametrize("dies", [False, True], ids=["one controller", "killed at each turn"])
def test_pools_that_are_added_come_and_stay_until_nobody_asks(world: World, *, dies: bool) -> None:
    """A floor of four; then none, and what is not needed goes as far as nothing would flap."""
    change_intents(world.store, lambda now: replace(now, more_pools={_family(world): 4}))
    controller = world.controller()
    _live(world, None if dies else controller)
    assert len(world.table().pools) == 4
    change_intents(world.store, lambda _: Intents())
    _live(world, None if dies else controller)
    assert len(world.table().pools) == 3


@pytest.mark.parametrize("turns", range(1, 9))
def test_a_drain_may_be_taken_back_at_any_turn(world: World, turns: int) -> None:
    """Whatever it has come to, everything settles and every bot has a pool."""
    _drain(world, min(world.table().pools))
    _live(world, None, turns)
    change_intents(world.store, lambda _: Intents())
    _live(world, None, 12)
    world.settle(world.controller())
    family = world.table().families[_family(world)]
    assert all(family.shards)
    assert not family.targets
    assert not family.lingering


def test_unreadable_intents_are_named_and_the_last_good_ones_stay(world: World) -> None:
    """Also while a drain is under way."""
    victim = min(world.table().pools)
    _drain(world, victim)
    controller = world.controller()
    controller.reconcile()
    world.store.put(CONTROLLER_INTENTS, b'{"format":"botshard.intents/v1"')
    _live(world, controller)
    assert victim not in world.table().pools
    assert CONTROLLER_INTENTS in json.loads(world.store.get(CONTROLLER_STATUS).data)["problems"]


def test_intents_that_nobody_could_read_yet_are_not_taken_for_none(world: World) -> None:
    """A controller that starts while they are damaged takes no added pool away, and goes on once they are whole."""
    change_intents(world.store, lambda now: replace(now, more_pools={_family(world): 4}))
    _live(world, world.controller())
    asked, table = world.store.get(CONTROLLER_INTENTS).data, world.table()
    world.store.put(CONTROLLER_INTENTS, asked[:-5])
    fresh = world.controller()
    _live(world, fresh, 6)
    assert world.table() == table
    assert CONTROLLER_INTENTS in json.loads(world.store.get(CONTROLLER_STATUS).data)["waiting"][0]
    world.store.put(CONTROLLER_INTENTS, asked)
    world.settle(fresh)
    assert world.table() == table
    assert json.loads(world.store.get(CONTROLLER_STATUS).data)["problems"] == {}


def test_a_group_whose_limit_is_broken_says_so_and_rests(world: World) -> None:
    """What the limit refuses is one sentence in the status, and no reason to plan over and over."""
    world.groups.write_text(REALTIME.replace("shardReplicas: 1}", "shardReplicas: 2, blastRadiusLimit: 0.01}"))
    world.publish(200, prefix="more")
    controller = world.controller()
    world.settle(controller)
    world.groups.write_text(REALTIME.replace("shardReplicas: 1}", "shardReplicas: 1, blastRadiusLimit: 0.001}"))
    controller.reconcile()
    waiting = json.loads(world.store.get(CONTROLLER_STATUS).data)["waiting"]
    assert len(waiting) == 1
    assert "stays as it is" in waiting[0]
    assert controller.reconcile() is False
