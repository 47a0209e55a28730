"""Runs `botshard` as somebody at a shell would, in a folder and an environment of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from botshard.cli.main import run

__all__ = ["Cli", "Ended"]

_ROOT = Path(__file__).parents[2]
_COMMAND = (sys.executable, "-m", "botshard.cli")


@dataclass(frozen=True)
class Ended:
    """What a run has left."""

    exit_code: int
    stdout: str
    stderr: str


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

    def __call__(self, *arguments: str, stdin: str = "") -> Ended:
        """Run to the end within the test's own process: a new one costs most of a second."""
        out, err = io.StringIO(), io.StringIO()
        before, source = Path.cwd(), sys.stdin
        sys.stdin = io.StringIO(stdin)
        os.chdir(self.folder)
        try:
            with patch.dict(os.environ, self.variables, clear=True), redirect_stdout(out), redirect_stderr(err):
                exit_code = run(arguments)
        finally:
            os.chdir(before)
            sys.stdin = source
        return Ended(exit_code, out.getvalue(), err.getvalue())

    def process(self, *arguments: str, stdin: str = "") -> Ended:
        """Run to the end as a process."""
        ended = subprocess.run(
            [*_COMMAND, *arguments],
            cwd=self.folder,
            env=self.variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def start(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start and go on."""
        return subprocess.Popen([*_COMMAND, *arguments], cwd=self.folder, env=self.variables, text=True, **options)

    def document(self, *arguments: str, exit_code: int = 0, stdin: str = "") -> Any:
        """What a run with `--json` prints: the output must be one JSON document and nothing else."""
        ended = self(*arguments, "--json", stdin=stdin)
        assert ended.exit_code == exit_code, ended.stderr
        return json.loads(ended.stdout)
