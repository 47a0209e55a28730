"""Moves as the loop carries them out: by turns, without losing a bot, and at once where a pool is quarantined."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from botshard.sharding.fleet import FailedLoad, PoolPhase, PoolStatus
from botshard.sharding.ids import BotId, Epoch, PoolName, ShardIndex, VersionNumber
from botshard.sharding.invariants import check_step
from botshard.sharding.residency import Residency
from botshard.sharding.routing import FamilyRoutes, RoutingTable, Target
from botshard.store.intents import Intents, change_intents, read_intents
from botshard.store.layout import CONTROLLER_STATUS
from botshard.store.reports import BotReport, ReplicaReport
from shard_controller.failures import FailureFollower
from tests.shard_controller.world import World, replica_report, world_of_two_pools


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A settled world of 80 bots in two pools."""
    return world_of_two_pools(tmp_path)


def _routes(world: World) -> FamilyRoutes:
    (family,) = world.table().families.values()
    return family


def _quarantine(world: World, *names: PoolName) -> None:
    change_intents(world.store, lambda now: replace(now, quarantine=names))


def _waiting(world: World) -> list[str]:
    return [str(text) for text in json.loads(world.store.get(CONTROLLER_STATUS).data)["waiting"]]


@pytest.mark.parametrize("dies", [False, True], ids=["one controller", "killed at each turn"])
def test_a_quarantined_pool_is_left_at_once_removed_and_forgotten(world: World, *, dies: bool) -> None:
    """No report says that anything is warm, and none is needed; routers that are behind may ask it for a grace."""
    victim = min(world.table().pools)
    _quarantine(world, victim)
    controller = world.controller()
    before = world.table()
    for turn in range(12):
        world.now_s += 2.0
        (world.controller() if dies else controller).reconcile()
        world.keep()
        after = world.table()
        if after.epoch != before.epoch:
            assert check_step(before, after, frozenset({victim})) == []
        before = after
        if turn >= 2:
            assert all(victim not in pools for pools in _routes(world).shards)
    assert victim not in world.table().pools
    assert victim not in {spec.name for spec in world.home.specs() or ()}
    assert read_intents(world.store) == Intents()


def test_a_drain_goes_by_turns_and_comes_to_an_end(world: World) -> None:
    """With a controller that is killed at each turn, and a budget of few bots."""
    victim = min(world.table().pools)
    change_intents(world.store, lambda now: replace(now, drain=(victim,)))
    world.budget_bots = 5
    most = 0
    for _ in range(40):
        world.now_s += 2.0
        world.controller().reconcile()
        world.keep()
        most = max(most, sum(target.has_begun for target in _routes(world).targets.values()))
        if any(not target.has_begun for target in _routes(world).targets.values()):
            assert any("wait for their turn: at most 5 bots" in text for text in _waiting(world))
        world.warm()
    assert 0 < most < 16
    assert victim not in world.table().pools
    assert read_intents(world.store) == Intents()


def test_a_bot_that_does_not_load_keeps_its_shard_and_lets_the_others_go(world: World) -> None:
    """The loop rests with one sentence in its status, and goes on by itself when the bot loads there."""
    victim = min(world.table().pools)
    change_intents(world.store, lambda now: replace(now, drain=(victim,)))
    controller = world.controller()
    for _ in range(3):
        world.now_s += 2.0
        controller.reconcile()
        world.keep()
    routes = _routes(world)
    bots = controller.observer.observation().snapshot.bots
    row, stays = next((row, bot.id) for bot in bots if (row := bot.hash >> (64 - routes.bits)) in routes.targets)
    targets = routes.targets[ShardIndex(row)].pools
    world.broken = {targets[0]: {stays}}
    for _ in range(8):
        world.now_s += 6.0
        world.warm()
        controller.reconcile()
        world.keep()
    assert [index for index, pools in enumerate(_routes(world).shards) if victim in pools] == [row]
    sentence = f"bot {stays} cannot be loaded by {targets[0]}: the blob is damaged"
    assert [sentence in text for text in _waiting(world)] == [True]
    assert controller.reconcile() is False
    world.broken = {}
    world.report(targets[0], "r1", warmed_epoch=world.table().epoch)
    world.settle(controller)
    assert victim not in world.table().pools


def _report(replica: str, **bots: BotReport) -> ReplicaReport:
    return replica_report("b", replica, {BotId(name): bot for name, bot in bots.items()})


def test_failed_loads_are_those_of_live_replicas_of_pools_that_shards_move_between(world: World) -> None:
    """Everywhere only if every live replica has said so; while nothing moves, nothing is looked at."""
    failed = BotReport(Residency.FAILED, VersionNumber(1), error="why")
    silent = BotReport(Residency.FAILED, VersionNumber(2))
    loading, resident = BotReport(Residency.LOADING), BotReport(Residency.RESIDENT, VersionNumber(1), error="v2: why")
    reports = [
        _report("r1", all=failed, some=failed, comes=loading, is_there=resident, quiet=silent),
        _report("r2", all=failed, some=resident),
        _report("dead", past=failed),
    ]
    by_name = {(one.pool, one.replica): one for one in reports}
    live = {PoolName("b"): PoolStatus(PoolName("b"), "http://b", PoolPhase.READY, members=("r1", "r2"))}
    (routes,) = world.table().families.values()

    def table(since: int) -> RoutingTable:
        rows, urls = ((PoolName("a"),),), {PoolName("a"): "http://a", PoolName("b"): "http://b"}
        target = Target((PoolName("b"),), Epoch(since))
        moving = FamilyRoutes(routes.id, routes.key, 0, urls, rows, {ShardIndex(0): target})
        return RoutingTable(Epoch(1), world.table().groups, {routes.id: moving})

    follower = FailureFollower()
    assert follower.of_pools(by_name, live, None) == {}
    assert follower.of_pools(by_name, live, table(0)) == {}
    found = follower.of_pools(by_name, live, table(1))
    assert found == follower.of_pools(by_name, live, table(1))
    assert found[PoolName("b")] == {
        "all": FailedLoad("why", everywhere=True),
        "some": FailedLoad("why", everywhere=False),
        "comes": FailedLoad(None, everywhere=False),
        "quiet": FailedLoad("the replica does not say why", everywhere=False),
    }
    more = {PoolName("b"): replace(live[PoolName("b")], members=("r1", "r2", "r3"))}
    assert not follower.of_pools(by_name, more, table(1))[PoolName("b")][BotId("all")].everywhere
