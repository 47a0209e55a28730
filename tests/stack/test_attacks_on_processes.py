"""Moments at which a stack is stopped or hurt that nobody would choose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from botshard.bots.publish import publish
from botshard.local.processes import start_ticks_of
from botshard.store.urls import open_store
from tests.local_stack import LocalStack, write_bots
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "kill", "hang-up"])
def test_a_stop_in_the_very_moment_of_the_start_is_obeyed(tmp_path: Path, number: signal.Signals) -> None:
    """The keeper has only just been started: it ends in order, and neither a lock nor a run folder is left."""
    argv = [sys.executable, "-m", "botshard.cli", "up", str(tmp_path), "--port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        eventually((tmp_path / "cache").exists, within_s=20.0)
        assert "router at" in process.stdout.readline()
        eventually(lambda: _has_child(process.pid), within_s=10.0)
        process.send_signal(number)
        said = process.stdout.read()
        assert process.wait(10.0) == 0, said
    assert "the keeper ended" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "store"}


def _has_child(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_a_stop_while_the_framework_is_imported_takes_a_moment(tmp_path: Path) -> None:
    """Replicas that wait for their zygote are given up, and so is the zygote: nothing is in flight."""
    store_url = (tmp_path / "store").as_uri()
    store = open_store(store_url, os.environ)
    publish(store, write_bots(tmp_path / "bots", ["bot"]), now_s=int(time.time()))
    stack = LocalStack(tmp_path, store_url=store_url)
    stack.start()
    eventually(lambda: stack.records()["zygotes"], within_s=10.0)
    zygote = stack.records()["zygotes"][0]
    assert not zygote["ready"]
    started_s = time.monotonic()
    stack.stop()
    assert time.monotonic() - started_s < 3.0
    assert start_ticks_of(zygote["pid"]) != zygote["start_ticks"]


def test_a_standby_that_was_lost_together_with_the_keeper_is_replaced(tmp_path: Path) -> None:
    """Zygote and keeper are killed at once: the standby takes over, and there is another standby a moment later."""
    stack = LocalStack(tmp_path)
    stack.publish(write_bots(tmp_path / "bots", ["bot"]))
    with stack:
        stack.wait_for("bot")
        before = _zygotes_when_two(stack)
        os.kill(stack.stack()["keeperPid"], signal.SIGKILL)
        os.kill(before[0], signal.SIGKILL)

        def without_the_killed() -> list[int] | None:
            pids = _zygotes_when_two(stack)
            return None if before[0] in pids else pids

        after = eventually(without_the_killed)
        assert after is not None
        assert before[1] in after
        assert stack.wait_for("bot").status == 200


def _zygotes_when_two(stack: LocalStack) -> list[int]:
    def two() -> list[int] | None:
        pids = [int(zygote["pid"]) for zygote in stack.records()["zygotes"] if zygote["ready"]]
        return pids if len(pids) == 2 else None

    found = eventually(two, within_s=20.0)
    assert found is not None
    return found
