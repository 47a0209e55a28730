"""`botshard roll` on a live stack: often, and with a keeper that is killed in the midst of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Cli
from tests.local_stack import Load, LocalStack, write_bots
from tests.waiting import eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

_BOTS = [f"bot-{index}" for index in range(4)]
_OFTEN = 7
"""A keeper that dies more often than five times in 20 s ends the stack; one that makes room does not die."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with realtime bots on two replicas."""
    folder: Path = tmp_path_factory.mktemp("roll")
    with LocalStack(folder) as stack:
        stack.publish(write_bots(folder / "bots", _BOTS))
        for bot in _BOTS:
            stack.wait_for(bot)
        eventually(lambda: len(stack.records()["zygotes"]) == 2, within_s=20)
        yield stack


def _roll(stack: LocalStack, *options: str) -> None:
    ended = Cli(stack.folder.path.parent)("roll", str(stack.folder.path), *options)
    assert ended.exit_code == 0, ended.stderr


def _keeper(stack: LocalStack) -> int:
    return int(stack.stack()["keeperPid"])


def _wait_for_another(stack: LocalStack, keeper: int) -> None:
    eventually(lambda: _keeper(stack) != keeper, within_s=10)


def _wait_for_a_part(stack: LocalStack) -> None:
    """Until some process besides the keeper was started anew."""

    def parts() -> set[int]:
        return set(stack.pids()) - {_keeper(stack)}

    there = parts() | {_keeper(stack)}
    eventually(lambda: parts() - there - {_keeper(stack)}, within_s=30)


def test_a_roll_goes_on_where_a_keeper_has_left_it(stack: LocalStack) -> None:
    """The keeper is killed as soon as a part was replaced, and again; no request fails, nothing of before is left."""
    before = stack.pids()
    load = Load(stack, _BOTS)
    with load.running():
        eventually(lambda: load.answered > 50)
        _roll(stack, "--no-wait")
        for _ in range(2):
            _wait_for_a_part(stack)
            keeper = _keeper(stack)
            os.kill(keeper, signal.SIGKILL)
            _wait_for_another(stack, keeper)
        eventually(lambda: not stack.folder.roll.exists(), within_s=60)
        answered = load.answered
        eventually(lambda: load.answered > answered + 50)
    assert not load.failures
    front = int(stack.stack()["frontPid"])
    assert set(before) & set(stack.pids()) == {front}


def test_rolls_that_follow_each_other_at_once_end_in_one(stack: LocalStack) -> None:
    """Each of them replaces the keeper first, and none of that counts as its death; the last one is carried out."""
    for _ in range(_OFTEN):
        keeper = _keeper(stack)
        _roll(stack, "--no-wait")
        _wait_for_another(stack, keeper)
    before = stack.pids()
    _roll(stack)
    assert set(before) & set(stack.pids()) == {int(stack.stack()["frontPid"])}
    assert stack.wait_for(_BOTS[0]).status == 200


def test_where_no_stack_runs_nothing_is_rolled(tmp_path: Path) -> None:
    """It is told, with the exit code of a refusal."""
    ended = Cli(tmp_path)("roll", "nowhere")
    assert ended.exit_code == 1
    assert "no stack runs in" in ended.stderr
