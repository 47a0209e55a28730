"""A stack whose store is MinIO: credentials stay where they belong, and an outage costs only what needs the store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.sharding.fleet import PoolPhase
from tests.local_stack import Answer, LocalStack, ask, write_bots
from tests.servers import MinioServer, free_port
from tests.waiting import eventually

pytestmark = [pytest.mark.stack, pytest.mark.minio]

_OUTAGE_S = 3.0
_TOLD_WITHIN_S = 10.0


@pytest.fixture
def stack(tmp_path: Path, own_minio: MinioServer) -> Iterator[LocalStack]:
    """A stack on MinIO with a realtime bot, and two of one pool that may sleep."""
    with _stack(tmp_path, own_minio) as stack:
        stack.publish(write_bots(tmp_path / "bots", ["awake"]))
        stack.publish(write_bots(tmp_path / "bots", ["loaded", "absent"], group="non-realtime"))
        stack.wait_for("awake")
        stack.wait_for("loaded")
        yield stack


def _stack(folder: Path, minio: MinioServer) -> LocalStack:
    return LocalStack(folder, store_url=minio.url(prefix="production"), environ={**os.environ, **minio.environ})


def test_credentials_appear_nowhere(stack: LocalStack, own_minio: MinioServer) -> None:
    """In no command line, in nothing that is printed or logged, in no file below the stack's folder."""
    secrets = {own_minio.access_key.encode(), own_minio.secret_key.encode()}
    own_minio.kill()  # errors of the store are logged too
    eventually(lambda: "cannot go on" in stack.log_path.read_text(), within_s=_TOLD_WITHIN_S)
    eventually(lambda: "store away" in stack.log_path.read_text(), within_s=_TOLD_WITHIN_S)

    pids = stack.pids()
    assert len(pids) >= 6
    said = {f"command line of {pid}": Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    said["log"] = stack.log_path.read_bytes()
    files = [path for path in stack.folder.path.rglob("*") if path.is_file()]
    assert stack.folder.stack in files
    said |= {str(path): path.read_bytes() for path in files}

    assert [where for where, text in said.items() if any(secret in text for secret in secrets)] == []
    assert own_minio.endpoint.encode() in said["log"]


def test_an_outage_costs_only_what_needs_the_store(stack: LocalStack, tmp_path: Path, own_minio: MinioServer) -> None:
    """Residents answer on; the rest is 503 with Retry-After and the store's URL; after it all is as before."""
    own_minio.kill()
    ends_at_s = time.monotonic() + _OUTAGE_S
    for bot in ("absent", "nobody", "absent", "nobody"):
        _assert_unavailable(ask(stack.url, bot), own_minio)
    assert ask(stack.url, "loaded").status == 200
    eventually(lambda: _phase(stack, "non-realtime") is PoolPhase.ASLEEP, within_s=15)
    # Woken now, it cannot even read which bots are its own. The replica that ends may answer a last request.
    eventually(lambda: ask(stack.url, "loaded").status == 503, within_s=5)
    while time.monotonic() < ends_at_s:
        assert ask(stack.url, "awake").status == 200
        _assert_unavailable(ask(stack.url, "loaded"), own_minio)

    own_minio.restart()
    for bot in ("loaded", "absent"):
        assert stack.wait_for(bot, within_s=5).label == "greeting"
    eventually(lambda: ask(stack.url, "nobody").status == 404, within_s=5)
    stack.publish(write_bots(tmp_path / "bots", ["new"]))
    stack.wait_for("new", within_s=2)


def _assert_unavailable(answer: Answer, minio: MinioServer) -> None:
    assert answer.status == 503, answer
    assert int(answer.headers["retry-after"]) >= 1
    reason = answer.body["error"]
    assert minio.url(prefix="production") in reason
    assert "cannot be reached" in reason
    assert minio.access_key not in reason
    assert minio.secret_key not in reason


def _phase(stack: LocalStack, group: str) -> PoolPhase:
    return next(status.phase for name, status in stack.statuses().items() if name.startswith(group))


@pytest.mark.parametrize(
    ("wrong", "exit_code", "told"),
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "invented-secret"}, 1, "credentials are not accepted", id="secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "invented-user"}, 1, "credentials are not accepted", id="access key"),
        pytest.param({"AWS_SECRET_ACCESS_KEY": ""}, 1, "AWS_SECRET_ACCESS_KEY: must be set", id="no secret"),
    ],
)
def test_wrong_credentials_are_told_before_anything_starts(
    tmp_path: Path, own_minio: MinioServer, wrong: dict[str, str], exit_code: int, told: str
) -> None:
    """One line that says so within seconds, without the credentials; no process and no folder is left."""
    environ = {**os.environ, **own_minio.environ, **wrong}
    ended = _up(tmp_path / "stack", own_minio.url(), environ)
    assert ended.returncode == exit_code
    assert told in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    for value in (environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]):
        assert not value or value not in ended.stderr + ended.stdout
    assert not (tmp_path / "stack").exists()


def test_a_store_that_is_away_is_told_before_anything_starts(tmp_path: Path) -> None:
    """With the exit code for what may work later."""
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "invented-secret"}
    url = f"s3://bots?endpoint=http://127.0.0.1:{free_port()}&region=us-east-1"
    ended = _up(tmp_path / "stack", url, environ)
    assert ended.returncode == 3
    assert len(ended.stderr.splitlines()) == 1
    assert f"{url}: cannot be reached" in ended.stderr
    assert not (tmp_path / "stack").exists()


def _up(folder: Path, url: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "botshard.cli", "up", str(folder), "--port", "0", "--store", url]
    return subprocess.run(
        argv, env=environ, capture_output=True, text=True, timeout=_TOLD_WITHIN_S, check=False, start_new_session=True
    )
