"""What a bot took in memory is given back when it leaves: loading and evicting for days must not grow a replica."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kserve_runtimes.bot_folders import export_folder, onnx_folder, text_folder
from tests.kserve_runtimes.fleet import ROOT, Fleet

_MAKERS: dict[str, Callable[[Path, str, int], Path]] = {
    "safetensors": lambda root, name, seed: text_folder(root, name, seed=seed),
    "torch-export": lambda root, name, seed: export_folder(root, name, seed=seed),
    "onnx": lambda root, name, seed: onnx_folder(root, name, seed=seed),
}


@pytest.mark.parametrize(
    ("model", "bots", "cycles", "most_bytes"),
    [("safetensors", 20, 1500, 256), ("torch-export", 1, 500, 8192), ("onnx", 20, 1000, 1024)],
    ids=["safetensors", "torch-export", "onnx"],
)
def test_a_process_does_not_grow_by_loads_and_evictions(
    fleet: Fleet, tmp_path: Path, *, model: str, bots: int, cycles: int, most_bytes: int
) -> None:
    """Less than the few bytes a cycle that libraries would keep of each file or program that they open."""
    fleet.publish(*(_MAKERS[model](tmp_path, f"bot-{number}", number) for number in range(bots)))
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.memory",
            "--inside",
            "onnx" if model == "onnx" else "torch",
            str(fleet.folder),
            str(cycles),
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=100,
    )
    before, after = map(int, done.stdout.split())
    assert after - before < cycles * 3 // 4 * most_bytes
