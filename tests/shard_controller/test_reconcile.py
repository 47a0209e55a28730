"""The controller's loop over a real store and a real local home."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from botshard.sharding.errors import WorldError
from botshard.sharding.fleet import PoolSpec
from botshard.sharding.ids import BotId, PoolName, VersionNumber
from botshard.sharding.invariants import check_step, check_table
from botshard.sharding.residency import Residency
from botshard.sharding.units import MEBIBYTE
from botshard.store.base import StoreUnavailableError
from botshard.store.layout import CATALOG_HEAD, CONTROLLER_STATUS, TABLE_CURRENT, report_key
from botshard.store.reports import BotReport
from botshard.store.table import TableStore
from shard_controller.local import LocalPools
from tests.shard_controller.world import REALTIME, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world without bots."""
    return World(tmp_path)


def test_bots_get_a_pool_and_a_table(world: World) -> None:
    """Bots in the catalog become one pool a family, and a table that routes every shard to it."""
    world.publish(20)
    world.publish(10, group="non-realtime", prefix="batch")
    world.settle(world.controller())
    table = world.table()
    assert {family.key.group for family in table.families.values()} == {"realtime", "non-realtime"}
    assert len(table.pools) == 2
    assert not check_table(table)


def test_a_second_turn_writes_nothing(world: World) -> None:
    """Once settled, neither the same controller nor a new one writes to store or home."""
    world.publish(20)
    controller = world.controller()
    world.settle(controller)
    before = {entry.key: entry.etag for entry in world.store.list("")}
    assert controller.reconcile() is False
    world.settle(world.controller())
    after = {entry.key: entry.etag for entry in world.store.list("")}
    unchanged = {key for key in before if not key.startswith("reports/") and key != CONTROLLER_STATUS}
    assert {key: after[key] for key in unchanged} == {key: before[key] for key in unchanged}


def test_more_bots_than_a_pool_holds_make_a_second_one_before_anything_moves(world: World) -> None:
    """A realtime shard is routed to its new pool only after that has reported its bots resident."""
    world.publish(40)
    controller = world.controller()
    world.settle(controller)
    old = set(world.table().pools)
    world.publish(40, prefix="late")
    seen = [world.table()]
    for turn in range(16):
        world.now_s += 2.0
        controller.reconcile()
        world.keep()
        seen.append(world.table())
        if seen[-1].epoch != seen[-2].epoch:
            assert not check_step(seen[-2], seen[-1])
        if turn == 6:
            family = next(iter(seen[-1].families.values()))
            assert family.targets, "no shard is on its way to the new pool"
            assert old.issuperset(name for pools in family.shards for name in pools), "moved to a pool that is not warm"
        if turn > 6:
            world.warm()
    final = next(iter(world.table().families.values()))
    assert len({name for pools in final.shards for name in pools}) == 2
    assert not final.targets
    assert not final.lingering


def test_a_controller_that_dies_anywhere_is_followed_by_one_that_goes_on(world: World) -> None:
    """With a new controller for every single turn the same end is reached."""
    world.publish(40)
    world.settle(world.controller())
    world.publish(60, prefix="late")
    epochs = []
    for _ in range(20):
        world.now_s += 2.0
        world.controller().reconcile()
        world.keep()
        world.warm()
        epochs.append(world.table().epoch)
    family = next(iter(world.table().families.values()))
    assert len({name for pools in family.shards for name in pools}) == 3
    assert not family.targets
    assert not family.lingering
    assert epochs[-1] == epochs[-5]


def test_of_two_controllers_at_once_one_publishes(world: World) -> None:
    """The conditional write decides; the loser looks again and agrees."""
    world.publish(20)
    world.controller().reconcile()
    world.keep()
    one, two = world.controller(), world.controller()
    one.observer.look()
    two.observer.look()
    world.publish(1, group="non-realtime", prefix="batch")
    one.reconcile()
    world.keep()
    one.reconcile()
    epoch = world.table().epoch
    world.settle(two)
    world.settle(one)
    assert world.table().epoch >= epoch
    assert not check_table(world.table())


def test_the_last_retired_bot_takes_its_pool_with_it(world: World) -> None:
    """A family without bots leaves the table; its pool is removed after that."""
    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    world.retire([f"bot-{index}" for index in range(3)])
    world.settle(controller)
    assert not world.table().families
    assert world.home.specs() == ()


def test_a_bot_that_no_pool_can_hold_is_named_with_the_numbers(world: World) -> None:
    """It hinders no other bot; the controller's status says what it needs and what there is."""
    world.publish(3)
    world.publish(1, prefix="huge", size_bytes=100 * MEBIBYTE)
    world.settle(world.controller())
    status = json.loads(world.store.get(CONTROLLER_STATUS).data)
    assert list(status["refused"]) == ["huge-0"]
    assert "64.0 MiB" in status["refused"]["huge-0"]
    assert len(world.table().pools) == 1


@pytest.mark.parametrize("fresh", [False, True], ids=["same controller", "fresh controller"])
def test_a_table_that_nobody_can_read_is_replaced(world: World, *, fresh: bool) -> None:
    """Damage to the published table is repaired with a higher epoch than any router has seen."""
    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    epoch = world.table().epoch
    world.store.put(TABLE_CURRENT, b'{"format":"botshard.table/v1","epo')
    world.settle(world.controller() if fresh else controller)
    assert world.table().epoch > epoch
    assert len(world.table().pools) == 1


def test_a_bad_group_file_leaves_the_groups_in_force(world: World) -> None:
    """The file is refused whole and named in the status; when it is right again, it is taken."""
    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    world.groups.write_text(REALTIME.replace("64Mi", "lots"))
    controller.reconcile()
    assert "spec.pool.memory" in json.loads(world.store.get(CONTROLLER_STATUS).data)["problems"]["pool groups"]
    assert len(world.table().pools) == 1
    world.groups.write_text(REALTIME.replace("shardReplicas: 1", "shardReplicas: 2"))
    world.settle(controller)
    assert json.loads(world.store.get(CONTROLLER_STATUS).data)["problems"] == {}
    assert len(world.table().pools) == 2


@pytest.mark.parametrize("fresh", [False, True], ids=["same controller", "one that has just started"])
@pytest.mark.parametrize("text", [REALTIME.replace("name: realtime", "name: fast"), "kind: ["], ids=["renamed", "bad"])
def test_a_group_with_bots_in_it_is_not_taken_away(world: World, *, fresh: bool, text: str) -> None:
    """Its pools serve on under the last good bounds, and the status says why; it goes with its last bot."""
    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    pools = set(world.table().pools)
    world.groups.write_text(text)
    if fresh:
        controller = world.controller()
    world.publish(1, prefix="late")
    world.settle(controller)
    assert set(world.table().pools) == pools
    status = json.loads(world.store.get(CONTROLLER_STATUS).data)
    assert status["refusedCount"] == 0
    assert set(status["problems"]) & {"pool group realtime", "pool groups"}

    world.retire(["bot-0", "bot-1", "bot-2", "late-0"])
    world.settle(controller)
    assert not world.table().pools


def test_reports_of_replicas_that_are_gone_are_forgotten(world: World) -> None:
    """A report of a replica that its home does not know is deleted once nothing that it told counts any more."""
    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    pool = next(iter(world.table().pools))
    world.report(pool, "r-dead", warmed_epoch=1, at_s=world.now_s - 301)
    world.settle(controller)
    keys = {entry.key for entry in world.store.list("reports/")}
    assert report_key(pool, "r-dead") not in keys
    assert report_key(pool, "r1") in keys


def test_a_replica_that_is_gone_is_forgotten_where_nothing_else_happens(world: World) -> None:
    """Its report is deleted when it is old enough, without any change that would lead to a plan."""
    world.publish(3)
    controller = world.controller(replan_interval_s=3600.0)
    world.settle(controller)
    pool = next(iter(world.table().pools))
    world.report(pool, "r-dead", warmed_epoch=1)
    assert not controller.reconcile()
    assert _has_report(world, pool, "r-dead")
    world.now_s += 301
    assert not controller.reconcile()
    assert not _has_report(world, pool, "r-dead")


def _has_report(world: World, pool: PoolName, replica: str) -> bool:
    return report_key(pool, replica) in {entry.key for entry in world.store.list("reports/")}


def test_a_report_without_news_leads_to_no_plan(world: World) -> None:
    """That replicas live, over and over, is no reason to weigh thousands of bots again; a new measurement is."""
    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    pool, epoch = next(iter(world.table().pools)), world.table().epoch
    for footprint_bytes, is_planned in ((100, True), (100, False), (200, True), (200, False)):
        world.now_s += 20
        _measure(world, pool, epoch, footprint_bytes)
        assert controller.reconcile() is is_planned


def test_a_measurement_that_comes_too_soon_is_taken_up_when_it_is_time(world: World) -> None:
    """It is not forgotten where no other report follows it."""
    world.publish(3)
    controller = world.controller(replan_interval_s=10.0)
    world.settle(controller)
    pool, epoch = next(iter(world.table().pools)), world.table().epoch
    world.now_s += 20
    _measure(world, pool, epoch, 100)
    assert controller.reconcile()
    world.now_s += 1
    _measure(world, pool, epoch, 200)
    assert [controller.reconcile(), controller.reconcile()] == [False, False]
    world.now_s += 10
    assert [controller.reconcile(), controller.reconcile()] == [True, False]


def _measure(world: World, pool: PoolName, epoch: int, footprint_bytes: int) -> None:
    bot = BotReport(Residency.RESIDENT, VersionNumber(1), footprint_bytes=footprint_bytes)
    world.report(pool, "r1", warmed_epoch=epoch, bots={BotId("bot-0"): bot})


def test_a_store_that_is_away_stops_nothing_for_good(world: World, tmp_path: Path) -> None:
    """The turn fails with an error that says so, and the next one after its return goes on."""
    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    (tmp_path / "store").rename(tmp_path / "away")
    world.now_s += 2.0
    with pytest.raises(WorldError):
        controller.reconcile()
    (tmp_path / "away").rename(tmp_path / "store")
    world.publish(1, group="non-realtime", prefix="batch")
    world.settle(controller)
    assert len(world.table().pools) == 2
    assert TableStore(world.store).read() is not None


def test_nothing_is_planned_from_half_a_catalog(world: World) -> None:
    """A controller that starts while catalog objects are damaged takes no bot away, and goes on once they are whole."""
    world.publish(40)
    world.settle(world.controller())
    keys = [entry.key for entry in world.store.list("catalog/") if entry.key != CATALOG_HEAD]
    saved = {key: world.store.get(key).data for key in keys}
    for key in keys:
        world.store.put(key, saved[key][:-5])
    table = world.table()
    fresh = world.controller()
    for _ in range(3):
        world.now_s += 2.0
        fresh.reconcile()
        world.keep()
    assert world.table() == table
    assert len(world.home.specs() or ()) == len(table.pools)
    assert keys[0] in json.loads(world.store.get(CONTROLLER_STATUS).data)["waiting"][0]
    for key in keys:
        world.store.put(key, saved[key])
    world.now_s += 20.0
    world.settle(fresh)
    assert world.table() == table


def test_a_change_that_was_seen_while_home_was_away_is_not_forgotten(world: World, tmp_path: Path) -> None:
    """The files are read, then the home cannot be: the plan of the next turn has the new groups all the same."""
    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    world.groups.write_text(REALTIME.replace("shardReplicas: 1", "shardReplicas: 2"))
    (tmp_path / "home").rename(tmp_path / "away")
    with pytest.raises(WorldError):
        controller.reconcile()
    (tmp_path / "away").rename(tmp_path / "home")
    world.settle(controller)
    assert len(world.table().pools) == 2


def test_a_plan_that_could_not_be_carried_out_is_made_again(world: World) -> None:
    """The home is away while a change is applied: the next turn does it, although nothing new has happened."""

    class AwayOnce(LocalPools):
        def ensure(self, specs: Iterable[PoolSpec], /) -> bool:
            controller.home = LocalPools(world.home)
            raise StoreUnavailableError("the home is away")

    world.publish(3)
    controller = world.controller()
    world.settle(controller)
    controller.home = AwayOnce(world.home)
    world.publish(1, group="non-realtime", prefix="batch")
    with pytest.raises(StoreUnavailableError):
        controller.reconcile()
    assert controller.reconcile() is True
    world.settle(controller)
    assert len(world.table().pools) == 2
