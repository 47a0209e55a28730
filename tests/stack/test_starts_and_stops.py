"""`botshard up` from its first check to its last trace."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from botshard.sharding.fleet import PoolPhase
from tests.local_stack import LocalStack, ask, write_bots
from tests.waiting import eventually

pytestmark = pytest.mark.stack


def _up(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "botshard.cli", "up", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def test_a_pool_sleeps_and_a_request_wakes_it(tmp_path: Path) -> None:
    """To zero after the idle time; the waking request is answered within half a second; Ctrl-C leaves nothing."""
    with LocalStack(tmp_path) as stack:
        stack.publish(write_bots(tmp_path / "bots", ["sleepy"], group="non-realtime"))
        stack.wait_for("sleepy")
        woken = []
        for _ in range(3):
            eventually(lambda: [s.phase for s in stack.statuses().values()] == [PoolPhase.ASLEEP], within_s=20)
            answer = ask(stack.url, "sleepy")
            assert answer.status == 200
            woken.append(answer.took_s)
        assert sorted(woken)[1] < 0.5, woken


def test_a_second_up_carries_on(tmp_path: Path) -> None:
    """Bots, pools and ports are as before, after an orderly end and after a power cut."""
    stack = LocalStack(tmp_path)
    stack.start()
    stack.publish(write_bots(tmp_path / "bots", ["one"]))
    stack.wait_for("one")
    pools = {name: status.url for name, status in stack.statuses().items()}
    stack.stop()
    stack.start()
    stack.wait_for("one")
    assert {name: status.url for name, status in stack.statuses().items()} == pools
    stack.kill_everything()
    stack.start()
    stack.wait_for("one")
    stack.stop()


def test_one_folder_has_one_stack(tmp_path: Path) -> None:
    """The second is told where the first is and how to stop it; the first goes on."""
    with LocalStack(tmp_path) as stack:
        second = _up(str(stack.folder.path), "--port", "0")
        assert second.returncode == 1
        assert "already runs" in second.stderr
        assert stack.url in second.stderr
        assert "botshard down" in second.stderr
        down = [sys.executable, "-m", "botshard.cli", "down", str(tmp_path / "elsewhere")]
        refused = subprocess.run(down, capture_output=True, text=True, timeout=30, check=False)
        assert refused.returncode == 1
        assert "no stack runs" in refused.stderr


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    """With the port and what to do; nothing is left in the folder but the empty places."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = _up(str(tmp_path / "stack"), "--port", str(port))
    assert refused.returncode == 1
    assert f"127.0.0.1:{port}" in refused.stderr
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--host", "0.0.0.0"], "--open-to-network"),
        (["--log-format", "xml"], "text or json"),
        (["--store", "ftp://somewhere"], "ftp"),
        (["--groups", "missing.yaml"], "missing.yaml"),
    ],
    ids=["open address", "log format", "store", "groups"],
)
def test_a_mistake_is_told_before_anything_starts(tmp_path: Path, arguments: list[str], expected: str) -> None:
    """One clear line, no traceback, exit code 1 or 2."""
    refused = _up(str(tmp_path / "stack"), "--port", "0", *arguments)
    assert refused.returncode in (1, 2)
    assert expected in refused.stderr
    assert "Traceback" not in refused.stderr
