"""The zygote: forks replicas, reports their ends, ends with its control socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.kserve_runtimes.bot_folders import export_folder, linear_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

KEY = key_of("non-realtime", "torch")
POOL = pool_of("non-realtime", "torch")


def _prepare(fleet: Fleet, tmp_path: Path) -> None:
    fleet.publish(linear_folder(tmp_path, "one", group="non-realtime"))
    fleet.publish_table({KEY: [POOL]})


def test_a_fork_answers_without_importing_anything(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> None:
    """A replica of its own pid, with one descriptor for each that it was given and none of the zygote's own."""
    _prepare(fleet, tmp_path)
    with Replica(torch_zygote, fleet, POOL) as replica:
        assert replica.multiply("one").status == 200
        assert replica.pid != torch_zygote.process.pid
        environ = Path(f"/proc/{replica.pid}/stat").read_text(encoding="ascii")
        assert int(environ.rpartition(")")[2].split()[1]) == torch_zygote.process.pid


def test_how_a_replica_ended_is_reported(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> None:
    """A signal as a negative number, an exit code as it is."""
    _prepare(fleet, tmp_path)
    killed, ended = Replica(torch_zygote, fleet, POOL), Replica(torch_zygote, fleet, POOL, replica="r-2")
    assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    assert ended.wait_ready().stop() == 0
    wrong = torch_zygote.fork({"RUNTIME_POOL": "!"}, {})
    assert torch_zygote.wait_exit(wrong) == 2


def test_replicas_outlive_their_zygote(fleet: Fleet, tmp_path: Path) -> None:
    """When its control socket is closed it ends with code 0; its children go on until their lifeline is cut."""
    _prepare(fleet, tmp_path)
    with Zygote(tmp_path / "zygote.log") as zygote:
        zygote.wait_ready()
        replica = Replica(zygote, fleet, POOL).wait_ready()
    assert zygote.process.returncode == 0
    assert replica.multiply("one").status == 200
    replica.cut_lifeline()
    eventually(lambda: not _is_alive(replica.pid))
    replica.release()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"  # nobody may be there to reap an orphan


_COUNT_IMPORTS = """
import sys
from kserve_runtimes.frameworks import import_framework
import_framework("torch", programs=True)
before = set(sys.modules)
import torch.export
torch.export.load(sys.argv[1]).module()
print(len(set(sys.modules) - before))
"""


def test_a_zygote_for_programs_has_imported_what_they_need(tmp_path: Path) -> None:
    """The first load of an exported program imports over a thousand modules; hardly any are left to it."""
    folder = export_folder(tmp_path, "program")
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", _COUNT_IMPORTS, str(folder / "model.pt2")]
    counted = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100, env=environ)
    assert int(counted.stdout) < 100
