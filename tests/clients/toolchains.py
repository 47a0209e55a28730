"""The clients made ready: toolchain found, packages fetched, built; a reason to skip says what is missing."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers import is_required

__all__ = ["Client", "go_client", "js_client"]

CLIENTS = Path(__file__).resolve().parents[2] / "clients"
GO, JS = CLIENTS / "go", CLIENTS / "js"
_FETCH_S, _BUILD_S = 60, 90
# What must not pass for an absent network: contents that are not those of the lock file, or a lock file out of date.
_DAMAGE = ("SECURITY ERROR", "checksum mismatch", "missing go.sum entry", "EINTEGRITY", "EUSAGE")
_NPM_PATIENCE = ("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
# The Go toolchain at hand is used; it is not to fetch another one.
_GO_ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}


@dataclass(frozen=True, slots=True)
class Client:
    """One client, built."""

    folder: Path
    lookup: Sequence[str | Path]
    """Command of its question-and-answer program."""
    suite: Sequence[str]
    """Command of its own tests."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in the client's folder, whatever comes of it."""
        return _run(self.folder, command, stdin=stdin, environment=self.environment)

    def ask(self, questions: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
        """The program's answers, one a question."""
        asked = "".join(json.dumps(question) + "\n" for question in questions)
        done = self.run(*self.lookup, stdin=asked)
        assert (done.returncode, done.stderr) == (0, "")
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == len(questions)
        return answers


def _run(
    folder: Path,
    command: Sequence[str | Path],
    *,
    stdin: str = "",
    within_s: float = _BUILD_S,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


def _absent(tool: str, reason: str) -> None:
    """Skip, or fail where the environment says that the toolchain must be there."""
    if is_required(tool):
        pytest.fail(f"BOTSHARD_REQUIRE_SERVERS names {tool}, but {reason}", pytrace=False)
    pytest.skip(reason)


def _find(tool: str, least: tuple[int, int], where: str, *, asked: str) -> str:
    """Path of a toolchain's program that is new enough."""
    hint = f"{tool} {'.'.join(map(str, least))} or newer is needed for the tests of this client: get it from {where}"
    found = shutil.which(tool)
    if found is None:
        _absent(tool, hint)
        raise AssertionError
    said = _run(CLIENTS, [found, asked], environment=_GO_ENVIRONMENT).stdout
    version = re.search(r"(\d+)\.(\d+)", said)
    if version is None or tuple(map(int, version.groups())) < least:
        _absent(tool, f"{hint} (found: {said.strip() or 'nothing that answers'})")
    return found


def _fetch(tool: str, folder: Path, command: Sequence[str]) -> None:
    """Fetch packages; only where they cannot be reached, the tests are left out."""
    try:
        done = _run(folder, command, within_s=_FETCH_S, environment=_GO_ENVIRONMENT)
        said, failed = done.stdout + done.stderr, done.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed = f"not done after {_FETCH_S} s", True
    assert not any(damage in said for damage in _DAMAGE), said
    if failed:
        _absent(
            tool,
            f"`{' '.join(command[:3])}` could not fetch the packages of this client: {' '.join(said.split())[:300]}",
        )


def go_client(folder: Path, /) -> Client:
    """The Go client, its program built into `folder`."""
    go = _find("go", (1, 22), "go.dev/dl", asked="version")
    _fetch("go", GO, ["go", "mod", "download"])
    built = _run(GO, [go, "build", "-o", folder / "lookup", "./cmd/lookup"], environment=_GO_ENVIRONMENT)
    assert built.returncode == 0, built.stderr
    return Client(GO, [folder / "lookup"], [go, "test", "./..."], _GO_ENVIRONMENT)


def js_client() -> Client:
    """The TypeScript client, installed and compiled in its own folder unless that has been done already."""
    node = _find("node", (20, 19), "nodejs.org", asked="--version")
    if shutil.which("npm") is None:
        _absent("node", "npm is needed for the tests of the TypeScript client: it comes with Node.js, from nodejs.org")
    with _alone(JS / "package.json"):
        lock = _digest([JS / "package-lock.json"])
        if not _is_done(JS / "node_modules", lock):
            _fetch("node", JS, ["npm", "ci", *_NPM_PATIENCE])
            _done(JS / "node_modules", lock)
        sources = _digest([*sorted(JS.glob("src/**/*.ts")), *sorted(JS.glob("test/*.ts")), JS / "tsconfig.json"])
        if not _is_done(JS / "dist", lock + sources):
            shutil.rmtree(JS / "dist", ignore_errors=True)
            built = _run(JS, ["npm", "run", "--silent", "build"])
            assert built.returncode == 0, built.stdout + built.stderr
            _done(JS / "dist", lock + sources)
    return Client(JS, [node, "dist/src/bin/lookup.js"], ["npm", "test", "--silent"])


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keeps other test runs in this tree away: an installation removes what another one would be using."""
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(paths: Sequence[Path]) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def _is_done(folder: Path, of: str) -> bool:
    mark = folder / ".made-of"
    return mark.is_file() and mark.read_text() == of


def _done(folder: Path, of: str) -> None:
    (folder / ".made-of").write_text(of)
