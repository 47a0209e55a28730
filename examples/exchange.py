"""What the process that wants bots and a process that trains them tell each other, as files in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from examples.bots import BotPlan
from examples.hyperparameters import Hyperparameters
from examples.lessons import Lesson
from examples.networks import Floats

__all__ = ["Job", "read_job", "read_probabilities", "write_job", "write_probabilities"]

_JOB: Final = "job.json"
_PROBABILITIES: Final = "probabilities.npz"


@dataclass(frozen=True, slots=True)
class Job:
    """Bots of one framework to train."""

    framework: str
    bots: list[tuple[BotPlan, Lesson]]
    out_dir: Path
    settings: Hyperparameters


def write_job(folder: Path, job: Job) -> None:
    """Writes a job into `folder`."""
    document = {
        "framework": job.framework,
        "bots": [[asdict(plan), asdict(lesson)] for plan, lesson in job.bots],
        "out_dir": str(job.out_dir),
        "settings": asdict(job.settings),
    }
    (folder / _JOB).write_text(json.dumps(document), encoding="utf-8")


def read_job(folder: Path) -> Job:
    """The job in `folder`."""
    document = json.loads((folder / _JOB).read_text(encoding="utf-8"))
    return Job(
        framework=document["framework"],
        bots=[(BotPlan(**_tuples(plan)), Lesson(**_tuples(lesson))) for plan, lesson in document["bots"]],
        out_dir=Path(document["out_dir"]),
        settings=Hyperparameters(**_tuples(document["settings"])),
    )


def write_probabilities(folder: Path, probabilities: Mapping[str, Floats]) -> None:
    """Writes `{bot id: (phrases, labels)}` into `folder`."""
    arrays: dict[str, Any] = dict(probabilities)
    np.savez(folder / _PROBABILITIES, **arrays)


def read_probabilities(folder: Path) -> dict[str, Floats]:
    """What `write_probabilities` wrote."""
    with np.load(folder / _PROBABILITIES, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
