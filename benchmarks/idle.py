"""What a stack costs that nobody asks: `python -m benchmarks.idle [--seconds N] [--json FILE]`.

200 bots of four families (both frameworks, realtime and not), all pools awake once, then left alone. CPU is user and
system time of every process of the stack; memory is proportional set sizes, so shared pages count once.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.asking import ask_until_answered
from benchmarks.bots import family_bots
from benchmarks.report import Row, parser, publish
from benchmarks.stack_costs import StackProcesses
from botshard.bots.publish import publish as publish_bots
from botshard.local.stack_process import StackProcess
from botshard.sharding.fleet import PoolPhase
from botshard.sharding.units import MEBIBYTE
from botshard.store.reports import read_reports
from botshard.store.urls import open_store

_BOTS = 200
_FAMILIES = 4
_BAR_RATIO = 0.02
_SETTLE_S = 8.0
_IMPORTS = ("torch", "tensorflow", "kserve.model_server, torch", "kserve.model_server, tensorflow")


def main() -> int:
    """Measure, print, compare with the bar."""
    options = parser("What a stack costs that nobody asks")
    options.add_argument("--seconds", type=float, default=30.0, help="how long to watch")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="botshard-idle-") as name:
        rows = _measure(Path(name), chosen.seconds)
    return publish(rows, chosen.json)


def _measure(folder: Path, watch_s: float) -> list[Row]:
    bots = family_bots(folder / "bots", _BOTS)
    with StackProcess(folder / "stack", environ=os.environ, log=folder / "log.txt") as stack:
        url = stack.wait_until_serving()
        store = open_store(stack.store_url, os.environ)
        publish_bots(store, bots, now_s=int(time.time()))
        _wait_until_loaded(stack)
        for bot in bots[:_FAMILIES]:
            ask_until_answered(url, bot.name)
        time.sleep(_SETTLE_S)
        processes = StackProcesses.of(stack)
        used_ratio = sum(processes.cpu_ratios(watch_s).values())
        memory = processes.memory_bytes()
        resident = sum(report.resident_bytes for report in read_reports(store)[0])
    imports = {f"import {names}": statistics.median(_import_bytes(names) for _ in range(3)) for names in _IMPORTS}
    total = sum(memory.values())
    rows = [Row(f"{_BOTS} bots, idle: CPU, cores", used_ratio, bar=f"< {_BAR_RATIO}", ok=used_ratio < _BAR_RATIO)]
    rows.append(Row("memory of the whole stack, MiB", total / MEBIBYTE, _mebibytes(imports)))
    rows += [Row(f"memory of {what}, MiB", size / MEBIBYTE) for what, size in memory.items()]
    rows.append(Row("footprint of the resident bots, MiB", resident / MEBIBYTE))
    return rows


def _wait_until_loaded(stack: StackProcess) -> None:
    deadline_s = time.monotonic() + 120
    while True:
        phases = {name: status.phase for name, status in stack.statuses().items()}
        settled = {PoolPhase.READY, PoolPhase.ASLEEP}
        if len(phases) >= _FAMILIES and set(phases.values()) <= settled:
            return
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"pools are not ready: {phases}")
        time.sleep(0.1)


def _import_bytes(names: str) -> int:
    script = f"import psutil, {names}; print(psutil.Process().memory_full_info().pss)"
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([sys.executable, "-c", script], check=True, env=environ, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def _mebibytes(sizes: dict[str, float]) -> dict[str, float]:
    return {name: size / MEBIBYTE for name, size in sizes.items()}


if __name__ == "__main__":
    sys.exit(main())
