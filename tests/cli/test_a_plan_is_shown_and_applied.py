"""`botshard plan` and `apply` on a real store, beside the controller's own code."""

from __future__ import annotations

from pathlib import Path

import pytest

from botshard.sharding.ids import FamilyId, PoolName
from botshard.store.base import ObjectStore
from botshard.store.intents import Intents, change_intents, read_intents
from botshard.store.layout import CONTROLLER_INTENTS
from tests.cli.fleets import FAMILY, POOLS
from tests.cli.running import Cli
from tests.shard_controller.world import World, world_of_two_pools

_STRICT = """
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: realtime}
spec: {class: realtime, pool: {memory: 64Mi, bots: 1000}, shardReplicas: 2}
"""


def _keys(store: ObjectStore) -> dict[str, str]:
    return {entry.key: entry.etag for entry in store.list("")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Eighty bots in two settled pools."""
    return world_of_two_pools(tmp_path)


def _plan(cli: Cli, world: World, *options: str, command: str = "plan") -> tuple[str, ...]:
    return (command, "--store", world.store.url, "--groups", str(world.groups), *options)


def test_a_settled_fleet_needs_no_change(cli: Cli, world: World) -> None:
    """And looking changes nothing in the store."""
    before = _keys(world.store)
    ended = cli(*_plan(cli, world))
    assert ended.exit_code == 0, ended.stderr
    assert "Nothing changes" in ended.stdout
    assert cli.document(*_plan(cli, world))["preview"]["moves"] == []
    assert _keys(world.store) == before


def test_the_plan_is_what_the_controller_then_does(cli: Cli, world: World) -> None:
    """One more pool: told, asked for, made; the table has the pools and as many moves as were told."""
    family = next(iter(world.table().families))
    told = cli.document(*_plan(cli, world, "--add", "1"))
    (line,) = told["preview"]["families"]
    (came,) = line["poolsAdded"]
    assert (line["poolsBefore"], line["poolsAfter"]) == (2, 3)
    assert told["intents"]["morePools"] == {family: 3}
    assert read_intents(world.store) == Intents()
    ended = cli(*_plan(cli, world, "--add", "1", "--family", family, command="apply"))
    assert ended.exit_code == 0, ended.stderr
    assert f"+ {came}" in ended.stdout
    assert "Bots that move" in ended.stdout
    assert "changed in their file" in ended.stderr
    assert read_intents(world.store).more_pools == {family: 3}
    old = world.table().families[family]
    world.settle(world.controller())
    new = world.table().families[family]
    assert came in new.urls
    repeat = len(new.shards) // len(old.shards)
    moved = sum(set(pools) != set(old.shards[index // repeat]) for index, pools in enumerate(new.shards))
    assert moved == len(told["preview"]["moves"])
    assert cli(*_plan(cli, world, "--add", "0", command="apply")).exit_code == 0
    assert read_intents(world.store) == Intents()


def test_a_drain_is_told_asked_for_and_taken_back(cli: Cli, world: World) -> None:
    """`--wait` without a controller gives up and says why."""
    victim = min(world.table().pools)
    ended = cli(*_plan(cli, world, "--drain", victim))
    assert f"- {victim} (drained)" in ended.stdout
    ended = cli(*_plan(cli, world, "--drain", victim, "--wait", "--wait-s", "0", command="apply"))
    assert ended.exit_code == 1
    assert "shards moved, 0 warm" in ended.stderr
    assert "1 pools still to be left" in ended.stderr
    assert "has not finished in time" in ended.stderr
    assert read_intents(world.store).drain == (victim,)
    document = cli.document(*_plan(cli, world, "--undo-drain", victim, command="apply"))
    assert document["intents"]["drain"] == []
    assert read_intents(world.store) == Intents()


def test_a_quarantine_is_told_asked_for_and_taken_back(cli: Cli, world: World) -> None:
    """How many shards go to pools that are not warm is told before; `pools` tells it as long as it lasts."""
    victim = min(world.table().pools)
    ended = cli(*_plan(cli, world, "--quarantine", victim))
    assert f"- {victim} (quarantined)" in ended.stdout
    assert "shards have no pool but quarantined ones" in ended.stderr
    assert read_intents(world.store) == Intents()
    told = cli.document(*_plan(cli, world, "--quarantine", victim, command="apply"))
    (routes,) = world.table().families.values()
    assert told["movedAtOnce"] == sum(pools == (victim,) for pools in routes.shards) > 0
    assert read_intents(world.store).quarantine == (victim,)
    assert f"{victim} is quarantined" in cli("pools", "--store", world.store.url).stderr
    document = cli.document(*_plan(cli, world, "--undo-quarantine", victim, command="apply"))
    assert document["intents"]["quarantine"] == []
    assert read_intents(world.store) == Intents()


def test_waiting_ends_when_the_controller_the_controller_is_done(cli: Cli, world: World) -> None:
    """Nothing to do is done at once."""
    ended = cli(*_plan(cli, world, "--wait", command="apply"))
    assert ended.exit_code == 0, ended.stderr


def test_other_groups_are_planned_with_and_not_applied(cli: Cli, world: World, tmp_path: Path) -> None:
    """A k of two: every shard comes to another pool, by the file that is named."""
    strict = tmp_path / "strict.yaml"
    strict.write_text(_STRICT)
    told = cli.document("plan", "--store", world.store.url, "--groups", str(strict))
    assert told["groupFiles"] == [str(strict)]
    assert told["preview"]["botsMovedRatio"] >= 0.45
    strict.write_text("kind: x")
    ended = cli("plan", "--store", world.store.url, "--groups", str(strict))
    assert ended.exit_code == 1
    assert "strict.yaml" in ended.stderr


def test_the_fleet_of_a_stack_that_does_not_run_is_planned_with_the_default_groups(
    cli: Cli, fleet: ObjectStore
) -> None:
    """Refused bots and what is waited for are told; nothing is known of load times of pools that nobody has."""
    ended = cli("plan")
    assert ended.exit_code == 0, ended.stderr
    assert FAMILY in ended.stdout
    assert cli.document("plan")["groupFiles"][0].endswith("pool_groups.yaml")


WRONG = {
    "an unknown pool": (("plan", "--drain", "nobody"), 1, "there is no pool nobody"),
    "nearly a pool": (("plan", "--drain", POOLS[0] + "x"), 1, f"did you mean {POOLS[0]}?"),
    "an unknown family": (("plan", "--add", "1", "--family", "torch-1"), 1, "there is no family torch-1"),
    "a family alone": (("plan", "--family", FAMILY), 2, "give --add N"),
    "too many": (("plan", "--add", "1000"), 2, "at most 1000"),
    "not drained": (("apply", "--undo-drain", POOLS[0]), 1, "is not being drained; there are no drained pools"),
    "not quarantined": (("apply", "--undo-quarantine", POOLS[0]), 1, "there are no quarantined pools"),
    "no pool to quarantine": (("plan", "--quarantine", "nobody"), 1, "there is no pool nobody"),
    "nothing": (("apply",), 2, "nothing to apply"),
}


@pytest.mark.parametrize(("arguments", "exit_code", "words"), WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_refused(
    cli: Cli, fleet: ObjectStore, arguments: tuple[str, ...], exit_code: int, words: str
) -> None:
    """With what there is instead; nothing is written."""
    ended = cli(*arguments)
    assert ended.exit_code == exit_code
    assert words in ended.stderr
    assert read_intents(fleet) == Intents()


def test_two_families_need_a_name(cli: Cli, world: World) -> None:
    """`--add` alone then says which there are."""
    world.publish(3, group="non-realtime", prefix="batch")
    world.settle(world.controller())
    ended = cli(*_plan(cli, world, "--add", "1"))
    assert ended.exit_code == 2
    assert "families: torch-" in ended.stderr


def test_what_was_asked_for_a_family_that_has_gone_can_be_taken_back(cli: Cli, world: World) -> None:
    """Else its floor would wait for the next bot of that family for ever; more pools it cannot be given."""
    change_intents(world.store, lambda _: Intents(more_pools={FamilyId("torch-gone"): 2}))
    wish = ("--family", "torch-gone")
    assert cli(*_plan(cli, world, "--add", "1", *wish, command="apply")).exit_code == 1
    assert cli(*_plan(cli, world, "--add", "0", *wish, command="apply")).exit_code == 0
    assert read_intents(world.store) == Intents()


def test_damaged_intents_are_told_and_overwritten_by_nobody(cli: Cli, world: World) -> None:
    """Both refuse: nobody knows what the controller was asked for, so a plan without it would be of another fleet."""
    change_intents(world.store, lambda _: Intents((PoolName("x"),), {FamilyId("torch-1"): 2}))
    world.store.put(CONTROLLER_INTENTS, b"{")
    for ended in (cli(*_plan(cli, world)), cli(*_plan(cli, world, "--add", "1", command="apply"))):
        assert ended.exit_code == 1
        assert f"until {CONTROLLER_INTENTS} can be read" in ended.stderr
        assert "JSON" in ended.stderr
    assert world.store.get(CONTROLLER_INTENTS).data == b"{"
