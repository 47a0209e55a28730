"""The drills in short: pools are added, drained, split and killed, all that runs is replaced, and nobody notices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from benchmarks.report import Row
from drills.place import NON_REALTIME, REALTIME, GroupShape, Place, set_up
from drills.pool_killed import kill_pools_in
from drills.reshard import reshard_in
from drills.rolling import roll_in
from drills.router import flip_in, reload_in, store_gone_in
from drills.soak import SHAPES, soak_in

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A stack of two pool groups under load, every answer checked."""
    with set_up(
        tmp_path_factory.mktemp("drills"),
        shapes={REALTIME: GroupShape(bots=16, kept_per_s=30.0), NON_REALTIME: GroupShape(bots=6)},
        bots={REALTIME: 20, NON_REALTIME: 4},
        rates_per_s={REALTIME: 60.0, NON_REALTIME: 10.0},
        seed=1,
        warm_up_s=0.5,
        environ={**os.environ, "ROUTER_WORKERS": "2"},
    ) as place:
        yield place


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A stack whose pools have room for a few of their bots, each with several versions."""
    with set_up(
        tmp_path_factory.mktemp("soak"),
        shapes=SHAPES,
        bots={REALTIME: 30, NON_REALTIME: 30},
        rates_per_s={REALTIME: 60.0, NON_REALTIME: 60.0},
        seed=1,
        warm_up_s=3.0,
    ) as place:
        yield place


def _missed(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.ok is False]


def test_re_shards_under_load(place: Place) -> None:
    """Every bot is answered at any moment of random re-shards, by its own weights."""
    assert not _missed(reshard_in(place, "reshard", rounds=3, seed=7, calm_s=0, kills=False))


def test_re_shards_whose_controller_is_killed(place: Place) -> None:
    """The same, and the next controller goes on where the one before was."""
    assert not _missed(reshard_in(place, "controller-killed", rounds=2, seed=8, calm_s=0, kills=True))


def test_all_that_runs_is_replaced_under_load(place: Place) -> None:
    """`botshard roll` leaves no process of before but the front, and costs no request."""
    assert not _missed(roll_in(place, rounds=1, calm_s=0))


def test_the_router_is_reloaded_under_load(place: Place) -> None:
    """Other workers take over from those that serve, on kept connections and new ones, and no request fails."""
    assert not _missed(reload_in(place, rounds=3))


def test_the_store_is_gone_under_load(place: Place) -> None:
    """What is served is served on by what was read last."""
    assert not _missed(store_gone_in(place, gone_s=2.0))


def test_another_table_each_second(place: Place) -> None:
    """Whoever is behind reads it when it is asked; nobody is told of it before, and no request fails."""
    assert not _missed(flip_in(place, flips=4))


def test_a_pool_that_is_killed_harms_its_own_bots_at_most(place: Place) -> None:
    """With two pools a shard nobody notices; with one, only its own bots wait or are told 503 with Retry-After."""
    assert not _missed(kill_pools_in(place, rounds=1, seed=9, calm_s=0))


def test_load_evictions_and_new_versions_let_nothing_grow(crowded: Place) -> None:
    """In short: descriptors beyond those of requests in flight, and threads; memory takes longer to find its size."""
    assert not _missed(soak_in(crowded, seconds=10.0, look_s=0.5, is_brief=True))
