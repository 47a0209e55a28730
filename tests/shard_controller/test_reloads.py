"""A reload rate that stays over its group's threshold adds a pool, whenever a controller dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from botshard.sharding.reloads import SUSTAINED_S
from shard_controller.reconcile import Reconciler
from tests.shard_controller.world import World

GROUPS = """
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: realtime}
spec: {class: realtime, pool: {memory: 64Mi, bots: 1000, overcommit: 8, reloadsPerSecond: 0.5}}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    """200 MiB of bots in one pool of 64 MiB."""
    world = World(tmp_path)
    world.groups.write_text(GROUPS)
    world.publish(200)
    world.settle(world.controller())
    assert len(world.table().pools) == 1
    return world


def _watch(world: World, controller: Reconciler, for_s: float) -> int:
    """Reports every ten seconds for so long; the number of pools then."""
    until_s = world.now_s + for_s
    while world.now_s < until_s:
        world.now_s += 10.0
        for name in world.table().pools:
            world.report(name, "r1", warmed_epoch=world.table().epoch)
        controller.reconcile()
        world.keep()
        world.warm()
    return len(world.table().pools)


def test_a_sustained_rate_adds_a_pool_and_then_waits(world: World) -> None:
    """One pool more after five minutes, the next after five minutes with that one."""
    controller = world.controller()
    world.reloads_per_s = 2.0
    assert _watch(world, controller, SUSTAINED_S - 20) == 1
    assert _watch(world, controller, 100) == 2
    assert _watch(world, controller, SUSTAINED_S - 100) == 2
    assert _watch(world, controller, 150) == 3
    world.reloads_per_s = 0.2
    assert _watch(world, controller, 2 * SUSTAINED_S) == 3


def test_a_controller_that_starts_anew_waits_anew_and_takes_nothing_away(world: World) -> None:
    """What it does not know it does not act on."""
    first = world.controller()
    world.reloads_per_s = 2.0
    assert _watch(world, first, SUSTAINED_S + 100) == 2
    world.reloads_per_s = 0.0
    for _ in range(3):
        assert _watch(world, world.controller(), 60) == 2


def test_a_rate_below_the_threshold_adds_nothing(world: World) -> None:
    """However long it lasts."""
    world.reloads_per_s = 0.4
    assert _watch(world, world.controller(), 3 * SUSTAINED_S) == 1
