"""Runs `botshard` as somebody at a shell would: a process of its own with a folder and an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Cli"]

_ROOT = Path(__file__).parents[2]
_COMMAND = (sys.executable, "-m", "botshard.cli")


@dataclass
class Cli:
    """`botshard` in a folder. Variables of the test run that would choose a store are not passed on."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The whole environment of a process."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        fixed = {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "HOME": str(self.folder)}
        return {**kept, **fixed, **self.environ}

    def __call__(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            [*_COMMAND, *arguments],
            cwd=self.folder,
            env=self.variables,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start and go on."""
        return subprocess.Popen([*_COMMAND, *arguments], cwd=self.folder, env=self.variables, text=True, **options)

    def document(self, *arguments: str, exit_code: int = 0, stdin: str | None = None) -> Any:
        """What a run with `--json` prints: the output must be one JSON document and nothing else."""
        ended = self(*arguments, "--json", stdin=stdin)
        assert ended.returncode == exit_code, ended.stderr
        return json.loads(ended.stdout)
