"""Pools are quarantined, and bots turn out to be broken, on a live stack: nobody who asks a bot notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.bots.rollouts import read_bot
from botshard.sharding.routing import FamilyRoutes
from botshard.store.artifacts import read_manifest
from botshard.store.intents import Intents, read_intents
from botshard.store.layout import blob_key
from tests.cli.running import Cli
from tests.local_stack import Load, LocalStack, write_bots
from tests.waiting import eventually

pytestmark = pytest.mark.stack

_GROUPS = """
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: realtime}
spec: {class: realtime, replicas: {min: 1, max: 1}, pool: {bots: 12}, shardReplicas: 2, timeouts: {request: 10s}}
"""
_BOTS = [f"bot-{index}" for index in range(8)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack of eight bots, each in two of two realtime pools; one of them has a file that no other has."""
    folder: Path = tmp_path_factory.mktemp("moves")
    with LocalStack(folder, groups=_GROUPS) as stack:
        folders = write_bots(folder / "bots", _BOTS)
        model = bytearray((folders[0] / "model.safetensors").read_bytes())
        model[-4] ^= 1
        (folders[0] / "model.safetensors").write_bytes(model)
        stack.publish(folders)
        for bot in _BOTS:
            stack.wait_for(bot)
        eventually(lambda: stack.is_settled(pools=2), within_s=30)
        yield stack


def _family(stack: LocalStack) -> FamilyRoutes:
    (family,) = stack.table().families.values()
    return family


@pytest.mark.timeout(300)
def test_a_pool_is_quarantined_under_load(stack: LocalStack) -> None:
    """50 requests a second: it is out of the order within seconds, long before another is warm, and nothing fails."""
    cli = Cli(stack.folder.path.parent)
    where = ("--folder", str(stack.folder.path))
    victim = min(stack.table().pools)
    load = Load(stack, _BOTS)
    with load.running():
        eventually(lambda: load.answered > 50)
        assert cli("apply", "--quarantine", victim, *where).exit_code == 0
        eventually(lambda: all(victim not in pools for pools in _family(stack).shards), within_s=10)
        ended = cli("apply", "--wait", "--wait-s", "120", *where)
        assert ended.exit_code == 0, ended.stderr
        answered = load.answered
        eventually(lambda: load.answered > answered + 50)
    assert not load.failures
    assert victim not in stack.table().pools
    assert stack.is_settled(pools=2)
    assert all(len(pools) == 2 for pools in _family(stack).shards)
    assert read_intents(stack.store) == Intents()


@pytest.mark.timeout(300)
def test_a_bot_that_no_new_pool_can_load_is_served_by_the_old_ones(stack: LocalStack) -> None:
    """Its file is lost to all but those that hold it: its shard alone stays, with the reason told; then it goes on."""
    cli = Cli(stack.folder.path.parent)
    where = ("--folder", str(stack.folder.path))
    victim = min(stack.table().pools)
    manifest = read_manifest(stack.store, read_bot(stack.store, _BOTS[0]).serving.artifact)
    key = blob_key(manifest.files["model.safetensors"].sha256)
    good = stack.store.get(key).data
    stack.store.put(key, b"damaged")
    for path in sorted((stack.folder.path / "cache").rglob("*")):
        if path.is_file() and path.stat().st_size == len(good) and path.read_bytes() == good:
            path.unlink()
    load = Load(stack, _BOTS)
    with load.running():
        eventually(lambda: load.answered > 50)
        ended = cli("apply", "--drain", victim, "--wait", "--wait-s", "120", *where)
        assert ended.exit_code == 1
        assert f"bot {_BOTS[0]} cannot be loaded by" in ended.stderr
        assert "shards moved" in ended.stderr
        family = _family(stack)
        assert sum(victim in pools for pools in family.shards) == len(family.targets) == 1
        stack.store.put(key, good)
        ended = cli("apply", "--wait", "--wait-s", "150", *where)
        while ended.exit_code == 1 and "cannot be loaded by" in ended.stderr:
            ended = cli("apply", "--wait", "--wait-s", "150", *where)
        assert ended.exit_code == 0, ended.stderr
    assert not load.failures
    assert victim not in stack.table().pools
    assert stack.is_settled(pools=2)
