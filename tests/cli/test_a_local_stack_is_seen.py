"""What the documents of a running local stack add to what the store says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from botshard.local.home import LocalHome
from botshard.local.processes import start_ticks_of
from botshard.local.records import write_json
from botshard.local.settings import StackFolder
from botshard.sharding.fleet import PoolPhase, PoolSpec, PoolStatus
from botshard.sharding.groups import PoolGroupSpec
from botshard.store.base import ObjectStore
from botshard.store.files import FileStore
from tests.cli.fleets import FAMILY, KEY, POOLS
from tests.cli.running import Cli


@pytest.fixture
def stack(cli: Cli, fleet: ObjectStore) -> StackFolder:
    """The documents of a stack that this very process stands for: one pool ready, one asleep, one not routed yet."""
    folder = StackFolder(cli.folder / ".botshard")
    folder.run.mkdir(parents=True)
    said = {"url": "http://127.0.0.1:1", "storeUrl": folder.store.as_uri(), "keeperPid": os.getpid()}
    write_json(folder.stack, {**said, "frontPid": os.getpid(), "keeperTicks": start_ticks_of(os.getpid())})
    home = LocalHome(FileStore(folder.home))
    group = PoolGroupSpec(KEY.group, realtime=False, pool_memory_bytes=1 << 20)
    home.write_specs(PoolSpec(name, FAMILY, KEY, group) for name in POOLS)
    home.write_statuses(
        [
            PoolStatus(POOLS[0], "http://127.0.0.1:9000", PoolPhase.READY, 2, 1, members=("r1", "r2")),
            PoolStatus(POOLS[1], "http://127.0.0.1:9001", PoolPhase.ASLEEP),
            PoolStatus(POOLS[2], None, PoolPhase.DEGRADED, message="the port is taken"),
        ]
    )
    return folder


def test_pools_have_phases_and_bounds(cli: Cli, stack: StackFolder) -> None:
    """Phase, replicas and capacity come from the stack, of pools that are not routed yet too."""
    ended = cli("pools")
    lines = {line["pool"]: line for line in cli.document("pools")["pools"]}
    assert [lines[name]["phase"] for name in POOLS] == ["ready", "asleep", "degraded"]
    assert (lines[POOLS[0]]["readyReplicas"], lines[POOLS[0]]["replicas"]) == (1, 2)
    assert lines[POOLS[0]]["capacityBytes"] == 1 << 20
    assert (lines[POOLS[2]]["shards"], lines[POOLS[2]]["message"]) == (0, "the port is taken")
    assert f"{POOLS[2]}: the port is taken" in ended.stderr


def test_replicas_that_the_stack_does_not_know_are_gone(cli: Cli, stack: StackFolder) -> None:
    """A young report of a replica that has just ended is not believed."""
    lines = {line["pool"]: line for line in cli.document("pools")["pools"]}
    assert (lines[POOLS[0]]["resident"], lines[POOLS[1]]["resident"]) == (1, 0)


def test_a_damaged_document_of_the_stack_is_told(cli: Cli, stack: StackFolder) -> None:
    """Its pools are then shown as the store knows them."""
    (stack.home / "status.json").write_text("{")
    told = cli.document("pools")
    assert "local stack" in told["problems"]
    assert len(told["pools"]) == 2


def test_another_store_is_not_mixed_with_the_stack(cli: Cli, stack: StackFolder, tmp_path: Path) -> None:
    """With `--store` of another place the stack's pools are not shown."""
    other = FileStore(tmp_path / "other")
    told = cli.document("pools", "--store", other.url)
    assert told["pools"] == []


def test_the_doctor_says_which_store_the_stack_serves(cli: Cli, stack: StackFolder, tmp_path: Path) -> None:
    """A store that is not the stack's is a warning with the way out; a router that is away fails."""
    other = FileStore(tmp_path / "other")
    told = cli.document("doctor", "--store", other.url, exit_code=1)
    checks = {check["what"]: check for check in told["checks"]}
    assert "not this store" in checks["stack"]["found"]
    assert checks["router"]["verdict"] == "fail"
