"""Any one process of a stack may be killed under load: all is back by itself, and nothing in the store is hurt."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.local.processes import start_ticks_of
from botshard.store.catalog import CatalogStore
from tests.local_stack import Load, LocalStack, write_bots
from tests.waiting import eventually

pytestmark = pytest.mark.stack

_BACK_WITHIN_S = 5.0
_REALTIME = [f"rt-{index}" for index in range(8)]
_SLEEPY = [f"nrt-{index}" for index in range(4)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with realtime bots on two replicas, and others that may sleep."""
    folder: Path = tmp_path_factory.mktemp("kill")
    with LocalStack(folder) as stack:
        stack.publish(write_bots(folder / "bots", _REALTIME))
        stack.publish(write_bots(folder / "bots", _SLEEPY, group="non-realtime"))
        for bot in (*_REALTIME, *_SLEEPY):
            stack.wait_for(bot)
        eventually(lambda: len(_pids(stack, "replica realtime")) == 2, within_s=20)
        eventually(lambda: len(stack.records()["zygotes"]) == 2, within_s=20)
        yield stack


def _pids(stack: LocalStack, what: str) -> list[int]:
    if what in ("front", "keeper"):
        return [int(stack.stack()[f"{what}Pid"])]
    records = stack.records()
    if what.startswith("zygote"):
        return [record["pid"] for record in records["zygotes"]][what.endswith("standby") :][:1]
    kind, _, group = what.partition(" ")
    return [
        record["pid"]
        for record in records["processes"]
        if record["kind"] == kind and record["pool"].startswith(group) and record["ready"]
    ]


@pytest.mark.parametrize(
    "what",
    ["replica realtime", "controller", "keeper", "front", "zygote active", "zygote standby", "router"],
)
def test_one_process_killed_under_load(stack: LocalStack, what: str) -> None:
    """50 requests a second to realtime bots: none fails (but those that a killed router held); all is back in 5 s."""
    load = Load(stack, _REALTIME)
    victim = eventually(lambda: _pids(stack, what), within_s=10)[0]
    ticks = start_ticks_of(victim)
    with load.running():
        eventually(lambda: load.answered > 50)
        killed_at_s = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: start_ticks_of(victim) != ticks, within_s=10)
        eventually(lambda: _is_back(stack, what, victim), within_s=_BACK_WITHIN_S)
        answered = load.answered
        eventually(lambda: load.answered > answered + 100)
    late = [failure for at_s, failure in load.failures if at_s > killed_at_s + _BACK_WITHIN_S]
    assert not late
    if what == "router":
        assert len(load.failures) <= 3, load.failures
    else:
        assert not load.failures
    assert stack.table().families
    assert set(CatalogStore(stack.store).read_all()) == {*_REALTIME, *_SLEEPY}


def _is_back(stack: LocalStack, what: str, victim: int) -> bool:
    pids = _pids(stack, what)
    wanted = 2 if what == "replica realtime" else 1
    return len(pids) == wanted and victim not in pids


def test_a_pool_wakes_also_right_after_its_zygote_was_killed(stack: LocalStack) -> None:
    """The standby forks the replica: no framework is imported while somebody waits."""
    eventually(lambda: len(stack.records()["zygotes"]) == 2, within_s=10)
    eventually(lambda: not _pids(stack, "replica non-realtime"), within_s=20)
    os.kill(_pids(stack, "zygote active")[0], signal.SIGKILL)
    assert stack.wait_for(_SLEEPY[0]).took_s < 2.0
