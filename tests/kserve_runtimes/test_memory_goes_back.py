"""What a bot took in memory is given back when it leaves: loading and evicting for days must not grow a replica."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.kserve_runtimes.bot_folders import FEATURES, text_folder
from tests.kserve_runtimes.fleet import ROOT, Fleet

CYCLES = 1500


def test_a_process_does_not_grow_by_loads_and_evictions(fleet: Fleet, tmp_path: Path) -> None:
    """Less than half a tensor a cycle, and less than 1 % of what the process had."""
    fleet.publish(*(text_folder(tmp_path, f"bot-{number}", seed=number) for number in range(20)))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--inside", "torch", str(fleet.folder), str(CYCLES)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=100,
    )
    before, after = map(int, done.stdout.split())
    assert after - before < CYCLES * FEATURES
    assert after < before * 1.01
