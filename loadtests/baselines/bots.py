"""The bots of the comparison: networks of 0.39 MiB, each with its own weights, as KServe's server takes them too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.pool_bots import mlp_outputs, mlp_rows, write_mlp

__all__ = ["QUESTION", "WEIGHTS_MIB", "ComparedBot", "write_compared"]

_ROW = mlp_rows()[:1]
QUESTION: Final = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": list(_ROW.shape), "data": _ROW.ravel().tolist()}]}
)
WEIGHTS_MIB: Final = 4 * (384 * 256 + 256 + 256 * 16 + 16) / (1 << 20)


@dataclass(frozen=True, slots=True)
class ComparedBot:
    """One bot of two versions."""

    id: str
    folders: Sequence[Path]
    """By version from 1 on; each is named as the bot."""
    answers: Sequence[Sequence[float]]
    """By version, to `QUESTION`."""


def write_compared(folder: Path, count: int, *, seed: int) -> list[ComparedBot]:
    """`count` bots below `folder`, `v1` and `v2`."""
    bots = []
    for index in range(count):
        name = f"mlp-{index:04}"
        weights = [
            write_mlp(folder / f"v{version}" / name, seed=seed * 1_000_000 + version * 100_000 + index)
            for version in (1, 2)
        ]
        answers = [mlp_outputs(file, _ROW).ravel().tolist() for file in weights]
        bots.append(ComparedBot(name, [file.parent for file in weights], answers))
    return bots
