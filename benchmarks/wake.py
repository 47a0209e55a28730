"""From zero to the answer: `python -m benchmarks.wake [--rounds N] [--json FILE]`.

Starts a local stack with one sleeping pool a framework and asks each of them again and again, always after it has gone
to sleep. The peer is what the same request costs without a zygote: a new process that imports the framework and the
model server before it can do anything else.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.asking import ask, ask_until_answered
from benchmarks.bots import sleepy_bots
from benchmarks.report import Row, parser, publish
from botshard.bots.publish import publish as publish_bots
from botshard.local.stack_process import StackProcess
from botshard.sharding.fleet import PoolPhase
from botshard.store.urls import open_store

_GROUPS = """\
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: non-realtime}
spec: {class: non-realtime, timeouts: {request: 30s, coldStart: 30s, idle: 500ms}}
"""
_BAR_S = 0.5
_POLL_S = 0.02


def main() -> int:
    """Measure, print, compare with the bar."""
    options = parser("From zero to the answer")
    options.add_argument("--rounds", type=int, default=15, help="wakes of each pool")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="botshard-wake-") as name:
        rows = _measure(Path(name), chosen.rounds)
    return publish(rows, chosen.json)


def _measure(folder: Path, rounds: int) -> list[Row]:
    bots = sleepy_bots(folder / "bots")
    groups = folder / "groups.yaml"
    groups.write_text(_GROUPS)
    rows = []
    with StackProcess(folder / "stack", groups=groups, environ=os.environ, log=folder / "log.txt") as stack:
        url = stack.wait_until_serving()
        publish_bots(open_store(stack.store_url, os.environ), bots.values(), now_s=int(time.time()))
        for framework, bot in bots.items():
            ask_until_answered(url, bot.name)
            took = []
            for _ in range(rounds):
                _wait_for(stack, framework, PoolPhase.ASLEEP)
                took.append(ask(url, bot.name))
                _wait_for(stack, framework, PoolPhase.READY)
            cold = statistics.median(_import_s(framework) for _ in range(3))
            median = statistics.median(took)
            peers = {"imports alone": cold}
            bar = f"≤ {_BAR_S}" if framework == "torch" else ""
            kept = median <= _BAR_S if bar else None
            rows.append(Row(f"{framework}: woken and answered, median, s", median, peers, median / cold, bar, kept))
            rows.append(Row(f"{framework}: woken and answered, slowest of {rounds}, s", max(took)))
    return rows


def _wait_for(stack: StackProcess, framework: str, phase: PoolPhase) -> None:
    while not all(status.phase is phase for name, status in stack.statuses().items() if f"-{framework}-" in name):
        time.sleep(_POLL_S)


def _import_s(framework: str) -> float:
    started_s = time.perf_counter()
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-c", f"import kserve.model_server, {framework}"]
    subprocess.run(command, check=True, env=environ, capture_output=True)
    return time.perf_counter() - started_s


if __name__ == "__main__":
    sys.exit(main())
