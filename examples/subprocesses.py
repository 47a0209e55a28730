"""Runs one training process and follows what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from botshard.sharding.errors import TerminalError
from examples.exchange import Job, write_job

__all__ = ["BOT_DONE", "TrainingError", "run_job"]

BOT_DONE: Final = "bot done"
"""The line on a training process' standard output after each bot."""

_REPOSITORY: Final = Path(__file__).resolve().parent.parent
_ENVIRONMENT: Final = {
    "CUDA_VISIBLE_DEVICES": "",  # networks this small train faster without
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_SHOWN_LINES: Final = 15


class TrainingError(TerminalError):
    """A training process failed."""


def run_job(job: Job, folder: Path, bot_done: Callable[[], None]) -> None:
    """Trains the job's bots in a process of its own, which leaves their probabilities in `folder`.

    Raises: TrainingError with the last lines of what the process said.
    """
    folder.mkdir()
    write_job(folder, job)
    log = folder / "stderr.txt"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "examples.training_process", str(folder)],
            cwd=_REPOSITORY,
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                if line.rstrip() == BOT_DONE:
                    bot_done()
        except BaseException:
            process.kill()  # nobody waits for it any more
            raise
    if process.returncode != 0:
        last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:])
        raise TrainingError(f"training {len(job.bots)} {job.framework} bots ended with {process.returncode}:\n{last}")
