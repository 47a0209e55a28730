"""A pool is drained and added on a live stack, and nobody who asks a bot notices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.store.intents import Intents, read_intents
from tests.cli.running import Cli
from tests.local_stack import Load, LocalStack, write_bots
from tests.waiting import eventually

pytestmark = pytest.mark.stack

_GROUPS = """
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: realtime}
spec: {class: realtime, replicas: {min: 1, max: 1}, pool: {bots: 6}, timeouts: {request: 10s}}
"""
_BOTS = [f"bot-{index}" for index in range(8)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack of eight bots in two realtime pools."""
    folder: Path = tmp_path_factory.mktemp("drain")
    with LocalStack(folder, groups=_GROUPS) as stack:
        stack.publish(write_bots(folder / "bots", _BOTS))
        for bot in _BOTS:
            stack.wait_for(bot)
        eventually(lambda: stack.is_settled(pools=2), within_s=30)
        yield stack


@pytest.mark.timeout(300)
def test_a_pool_is_drained_under_load_and_another_drain_is_taken_back(stack: LocalStack) -> None:
    """50 requests a second to all bots: none fails and none is answered by the wrong bot; everything settles."""
    cli = Cli(stack.folder.path.parent)
    where = ("--folder", str(stack.folder.path))
    first = min(stack.table().pools)
    load = Load(stack, _BOTS)
    with load.running():
        eventually(lambda: load.answered > 50)
        told = json.loads(cli("plan", "--drain", first, *where, "--json").stdout)
        assert told["preview"]["families"][0]["poolsRemoved"] == [first]
        assert told["groupFiles"] == [str(stack.folder.path.parent / "groups.yaml")]
        ended = cli("apply", "--drain", first, "--wait", "--wait-s", "120", *where)
        assert ended.exit_code == 0, ended.stderr
        assert "shards moved" in ended.stderr
        table = stack.table()
        assert first not in table.pools
        assert stack.is_settled(pools=2)
        assert read_intents(stack.store) == Intents()

        second = min(table.pools)
        assert cli("apply", "--drain", second, *where).exit_code == 0
        eventually(lambda: stack.table().epoch > table.epoch, within_s=60)
        ended = cli("apply", "--undo-drain", second, "--wait", "--wait-s", "120", *where)
        assert ended.exit_code == 0, ended.stderr
        answered = load.answered
        eventually(lambda: load.answered > answered + 100)
    assert not load.failures
    assert stack.is_settled(pools=2)
    assert read_intents(stack.store) == Intents()
