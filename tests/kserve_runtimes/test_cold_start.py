"""What a replica that has just been started answers, and what it imports behind its answers."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kserve_runtimes.bot_folders import export_folder, linear_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Program, Replica
from tests.servers import free_port
from tests.waiting import eventually

KEY = key_of("non-realtime", "torch")
POOL = pool_of("non-realtime", "torch")

_SLOW = """
import pathlib
path = pathlib.Path(__file__).parent
(path / "begun").touch()
(path / "go").read_bytes()
raise ImportError("half of it is missing")
"""


@pytest.fixture(autouse=True)
def _one_bot(fleet: Fleet, tmp_path: Path) -> None:
    fleet.publish(linear_folder(tmp_path, "one", group="non-realtime"))
    fleet.publish_table({KEY: [POOL]})


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "program.log")


class _InPlace:
    """A package that takes the place of an installed one, and hangs in its import until `let_go`; then it fails."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / "instead" / name
        self.folder.mkdir(parents=True)
        (self.folder / "__init__.py").write_text(_SLOW)
        os.mkfifo(self.folder / "go")

    @property
    def path(self) -> str:
        """First in the interpreter's search path."""
        return f"{self.folder.parent}:{Path(__file__).parents[2]}"

    def wait_begun(self) -> None:
        """Until somebody imports it."""
        eventually((self.folder / "begun").exists, within_s=20)

    def let_go(self) -> None:
        """Let the import come to its end, which is a failure."""
        (self.folder / "go").write_bytes(b"")


def _sdk(replica: Replica) -> str:
    """The state that the metrics tell; exactly one."""
    states = ("absent", "importing", "there", "failed")
    (state,) = [state for state in states if replica.metric("botshard_sdk", state=state) == 1]
    return state


def test_inference_health_metadata_and_metrics_come_before_the_sdk(program: Program, fleet: Fleet) -> None:
    """A replica that waits until it is asked for the SDK answers everything else without it, and then that too."""
    with Replica(program, fleet, POOL, RUNTIME_SDK="asked") as replica:
        assert replica.multiply("one").status == 200
        assert replica.wait_ready().get("/v2/health/live").status == 200
        assert replica.get("/v2/models/one").json["name"] == "one"
        assert replica.post("/v2/repository/index", {}).status == 200
        assert _sdk(replica) == "absent"
        assert replica.get("/").json == {"status": "alive"}
        assert _sdk(replica) == "there"
        assert replica.get("/v2/nothing").status == 404
        assert "python_info" in replica.get("/metrics").body.decode()


def test_the_sdk_is_imported_once_the_replica_is_quiet(program: Program, fleet: Fleet) -> None:
    """Nobody has to ask for it."""
    with Replica(program, fleet, POOL) as replica:
        assert replica.multiply("one").status == 200
        eventually(lambda: _sdk(replica) == "there", within_s=30)
        assert replica.multiply("one").status == 200


def test_whoever_asks_the_sdk_too_early_is_answered_when_it_is_there(program: Program, fleet: Fleet) -> None:
    """Also who was in the socket's queue before the process had begun; inference does not wait for them."""
    with Replica(program, fleet, POOL, RUNTIME_SDK="asked") as replica, ThreadPoolExecutor(3) as threads:
        early = [threads.submit(replica.get, "/") for _ in range(3)]
        assert replica.multiply("one").status == 200
        assert [each.result().json for each in early] == [{"status": "alive"}] * 3


def test_an_sdk_that_hangs_and_then_fails_takes_nothing_down(program: Program, fleet: Fleet, tmp_path: Path) -> None:
    """What only it serves is 503 with the reason, which log and metrics tell too; the rest goes on and ends cleanly."""
    kserve = _InPlace(tmp_path, "kserve")
    with Replica(program, fleet, POOL, PYTHONPATH=kserve.path) as replica, ThreadPoolExecutor(1) as threads:
        kserve.wait_begun()
        waiting = threads.submit(replica.get, "/")
        assert replica.multiply("one").status == 200
        assert _sdk(replica) == "importing"
        kserve.let_go()
        answer = waiting.result()
        assert answer.status == 503
        assert "half of it is missing" in answer.error
        assert "inference is not affected" in answer.error
        assert answer.headers["x-botshard-pool"] == POOL
        assert (replica.get("/").status, _sdk(replica)) == (503, "failed")
        assert (replica.get("/pool/ready").status, replica.multiply("one").status) == (200, 200)
        assert replica.stop() == 0
    errors = [line for line in program.log.read_text("utf-8").splitlines() if " E pool.torch" in line]
    assert len(errors) == 1
    assert "KServe's SDK cannot be imported" in errors[0]


@pytest.mark.parametrize("how", [signal.SIGTERM, None], ids=["SIGTERM", "lifeline"])
def test_a_replica_ends_in_the_middle_of_the_import(
    program: Program, fleet: Fleet, tmp_path: Path, how: signal.Signals | None
) -> None:
    """With code 0 and at once: who waits for the SDK is told, and the import is waited for by nobody."""
    kserve = _InPlace(tmp_path, "kserve")
    with Replica(program, fleet, POOL, PYTHONPATH=kserve.path) as replica, ThreadPoolExecutor(1) as threads:
        kserve.wait_begun()
        waiting = threads.submit(replica.get, "/")
        eventually(lambda: replica.metric("botshard_requests_total", protocol="rest", status="2xx") > 0)
        if how is None:
            replica.cut_lifeline()
        assert replica.stop(how) == 0
        answer = waiting.result()
        assert (answer.status, "this replica ends" in answer.error) == (503, True)


def test_a_replica_that_cannot_serve_grpc_as_it_was_told_ends(program: Program, fleet: Fleet, tmp_path: Path) -> None:
    """It never says that it is ready, tells why, and exits with code 1, so that whoever started it knows."""
    kserve = _InPlace(tmp_path, "kserve")
    port = str(free_port())
    with Replica(program, fleet, POOL, PYTHONPATH=kserve.path, RUNTIME_GRPC_PORT=port) as replica:
        kserve.wait_begun()
        assert replica.multiply("one").status == 200
        assert replica.get("/pool/ready").status == 503
        kserve.let_go()
        assert replica.stop(None) == 1
    assert "half of it is missing" in program.log.read_text("utf-8")


def test_a_bot_that_needs_the_framework_keeps_nobody_waiting(program: Program, fleet: Fleet, tmp_path: Path) -> None:
    """While it is imported declared bots answer; where it cannot be, the bots that need it say so, and they alone."""
    fleet.publish(export_folder(tmp_path, "program", group="non-realtime"))
    torch = _InPlace(tmp_path, "torch")
    replica = Replica(program, fleet, POOL, PYTHONPATH=torch.path, RUNTIME_SDK="asked")
    with replica, ThreadPoolExecutor(1) as threads:
        needing = threads.submit(replica.multiply, "program", x_request_timeout="20")
        torch.wait_begun()
        assert replica.multiply("one").status == 200
        torch.let_go()
        answer = needing.result()
        assert answer.status == 503
        assert "needs torch, which cannot be imported here: half of it is missing" in answer.error
        assert replica.multiply("one").status == 200


def test_the_framework_is_imported_for_the_first_bot_in_need(program: Program, fleet: Fleet, tmp_path: Path) -> None:
    """An exported program answers as its declared twin does, from the same process."""
    fleet.publish(export_folder(tmp_path, "program", group="non-realtime"))
    with Replica(program, fleet, POOL, RUNTIME_SDK="asked") as replica:
        declared = replica.multiply("one")
        exported = replica.multiply("program", x_request_timeout="30")
        assert exported.status == 200, exported.body
        assert exported.json["outputs"][0]["data"] == pytest.approx(declared.json["outputs"][0]["data"], rel=1e-5)
