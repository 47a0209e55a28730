"""What the controller holds of a large catalog, and that a look takes up only what has changed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from botshard.sharding.bot_map import BotMap
from botshard.sharding.catalog import FamilyKey, ResourceHints
from botshard.sharding.fleet import BotLoad
from botshard.sharding.hashing import bot_hash
from botshard.sharding.ids import BotId, Framework, GroupName, VersionNumber
from botshard.sharding.residency import Residency
from botshard.sharding.units import MEBIBYTE
from botshard.store.reports import RATE_TAU_S, BotReport
from shard_controller.group_files import GroupFiles
from shard_controller.loads import Estimates, LoadFollower
from shard_controller.local import LocalPools
from shard_controller.observe import Observer
from tests.catalogs import bytes_a_bot, make_bots, write_catalog
from tests.shard_controller.world import World, replica_report


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world without bots."""
    return World(tmp_path)


def observer_of(world: World) -> Observer:
    groups = GroupFiles((world.groups,))
    return Observer(
        world.store, LocalPools(world.home), groups, now_s=lambda: world.now_s, monotonic_s=lambda: world.now_s
    )


def test_a_controller_holds_a_bot_in_some_hundred_bytes(world: World) -> None:
    """5,000 bots of different sizes: their loads, ready for planning, over the ids themselves."""
    bots = make_bots(5_000, FamilyKey(GroupName("realtime"), Framework("torch")))
    write_catalog(world.store, bots)

    def look() -> Observer:
        observer = observer_of(world)
        observer.look()
        observer.observation()
        return observer

    held_bytes, observer = bytes_a_bot(bots, look)

    assert len(observer.observation().snapshot.bots) == 5_000
    assert held_bytes < 400


def test_a_look_makes_only_the_loads_of_bots_that_changed(world: World) -> None:
    """What did not change is the same object as before; retired bots are gone."""
    world.publish(100)
    observer = observer_of(world)
    observer.look()
    before = {load.id: load for load in observer.observation().snapshot.bots}
    world.publish(1, size_bytes=2 * MEBIBYTE)
    world.retire(["bot-1"])

    assert observer.look()
    after = {load.id: load for load in observer.observation().snapshot.bots}
    assert before.keys() - after.keys() == {BotId("bot-1")}
    assert [bot_id for bot_id, load in after.items() if load is not before[bot_id]] == [BotId("bot-0")]
    assert after[BotId("bot-0")].footprint_bytes > before[BotId("bot-0")].footprint_bytes
    assert not observer.look()


def test_a_group_is_held_as_long_as_a_bot_is_in_it(world: World) -> None:
    """Bots are counted as they come, change and go: the last one that is retired lets the group go."""
    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    groups = world.groups.read_text()
    world.groups.write_text(groups.replace("{name: realtime}", "{name: another}"))
    observer = observer_of(world)
    observer.look()
    assert "pool group realtime" in observer.problems()

    world.publish(2, size_bytes=2 * MEBIBYTE)
    world.retire(["bot-0", "bot-1"])
    observer.look()
    assert "pool group realtime" in observer.problems()

    world.retire(["bot-2"])
    observer.look()
    assert "pool group realtime" not in observer.problems()


@pytest.mark.parametrize("is_gone", [True, False], ids=["a replica dies", "a shard moves"])
def test_what_a_bot_was_asked_elsewhere_fades_as_its_new_mean_grows(world: World, *, is_gone: bool) -> None:
    """Whether a replica ends or lets go of a bot: no request is weighed twice or not at all."""
    world.publish(1)
    world.settle(world.controller())
    (pool,) = world.table().pools
    observer = observer_of(world)
    moved_at_s = world.now_s
    bot = BotId("bot-0")

    def tell(replica: str, rate_per_s: float) -> None:
        told = BotReport(Residency.RESIDENT, VersionNumber(1), footprint_bytes=1, rate_per_s=rate_per_s)
        world.report(pool, replica, warmed_epoch=1, bots={bot: told})

    def rate_per_s() -> float:
        observer.look()
        (load,) = observer.observation().snapshot.bots
        return load.rate_per_s

    tell("r-before" if is_gone else "r1", 10.0)
    assert rate_per_s() == pytest.approx(10.0)
    for _ in range(6):
        world.now_s += 20.0
        kept_ratio = math.exp((moved_at_s - world.now_s) / RATE_TAU_S)
        if not is_gone:
            world.report(pool, "r1", warmed_epoch=1, left_rates={bot: 10.0 * kept_ratio})
            world.members = ("r1", "r-after")
            world.keep()
        tell("r1" if is_gone else "r-after", 10.0 * (1 - kept_ratio))
        assert rate_per_s() == pytest.approx(10.0)


def test_hints_count_until_a_bot_was_measured() -> None:
    """Bytes and requests of an author's hints; then what replicas tell, also that nobody asks."""
    bots = make_bots(2, FamilyKey(GroupName("realtime"), Framework("torch")))
    hints = ResourceHints(memory_bytes=7 * MEBIBYTE, rate_per_s=5.0)
    hinted = replace(bots[0], versions=tuple(replace(version, resources=hints) for version in bots[0].versions))
    estimates: BotMap[BotLoad] = BotMap()
    keep = Estimates().keep
    for bot in (hinted, bots[1]):
        estimates = estimates.with_changes({bot.id: keep(bot, bot_hash(bot.id))})
    follower = LoadFollower()

    load = follower.follow(estimates, set(estimates), None).get(hinted.id)

    assert load is not None
    assert load is estimates[hinted.id]
    assert (load.footprint_bytes, load.rate_per_s) == (7 * MEBIBYTE, 5.0)
    told = BotReport(Residency.RESIDENT, VersionNumber(1), footprint_bytes=MEBIBYTE, rate_per_s=0.0)
    report = replica_report("p", "r", {hinted.id: told})
    measured = follower.follow(estimates, set(), [(report, 1.0)]).get(hinted.id)
    assert measured is not None
    assert (measured.footprint_bytes, measured.rate_per_s) == (MEBIBYTE, 0.0)
