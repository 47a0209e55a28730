"""Rules of the house that no other tool checks."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("botshard", "router", "shard_controller", "kserve_runtimes")
_MOST_LINES = 400


def _tracked(pattern: str) -> list[Path]:
    """Files of the repository, also those that are new; in an unpacked archive, where git is not asked, all of them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        return [path for path in ROOT.rglob(pattern) if not {".venv", "node_modules"} & set(path.parts)]
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_every_test_says_what_it_claims() -> None:
    """The claim of a test is its docstring, one sentence or more."""
    silent = []
    for path in _tracked("tests/**/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
                continue
            if not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not silent


def test_no_test_sleeps() -> None:
    """Tests wait for a condition with a deadline (tests/waiting.py); a fixed sleep is either too short or too long."""
    sleepers = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _tracked("tests/**/*.py")
        if path.name not in ("waiting.py", "test_repository.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\btime\.sleep\(", line) and "# " not in line
    ]
    assert not sleepers


def test_no_module_is_too_long() -> None:
    """Above 400 lines, look for the second idea in the file."""
    long = {
        str(path.relative_to(ROOT)): lines
        for package in (*_PACKAGES, "loadtests")
        for path in _tracked(f"{package}/**/*.py")
        if (lines := len(path.read_text().splitlines())) > _MOST_LINES
    }
    assert not long


def _composes(path: Path) -> bool:
    """Whether a module may construct things and read the environment: the roots of the programs, and the CLI."""
    relative = path.relative_to(ROOT)
    return path.name in ("main.py", "__main__.py", "zygote.py") or relative.parts[:2] == ("botshard", "cli")


@pytest.mark.parametrize(
    ("pattern", "besides"),
    [
        # These take a log level, and whether to call home, from the environment alone, before they are imported.
        (r"os\.environ|os\.getenv", {"kserve_runtimes/onnx/quiet.py", "kserve_runtimes/tensorflow/quiet.py"}),
        (r"\bopen_store\(", {"botshard/local/stack_process.py", "botshard/store/urls.py"}),
        (r"\bconfigure_logs\(", {"botshard/logs.py"}),
    ],
    ids=["environment", "stores", "logs"],
)
def test_only_the_roots_compose(pattern: str, besides: set[str]) -> None:
    """Everything else is given what it needs."""
    found = {
        path.relative_to(ROOT).as_posix()
        for package in _PACKAGES
        for path in _tracked(f"{package}/**/*.py")
        if not _composes(path) and re.search(pattern, path.read_text())
    }
    assert found - besides == set()


def test_constraints_hold_what_is_asked_for() -> None:
    """Every direct dependency has an exact version in constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    asked += [item for extra in project["project"]["optional-dependencies"].values() for item in extra]
    names = {re.match(r"[A-Za-z0-9._-]+", item)[0].lower().replace("_", "-") for item in asked}  # type: ignore[index]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    # One of the two, by platform; the one that this file was made on stands in it.
    assert names - pinned - {"botshard", "tensorflow"} == set()


def test_constraints_name_no_place() -> None:
    """Exact versions only: no address of an index, no path."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._!+-]+", line)] == []


@pytest.mark.parametrize("page", [path.relative_to(ROOT).as_posix() for path in _tracked("*.md")])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    """Relative links in Markdown name files that exist."""
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []
