"""What somebody sees who asks for help, and what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import botshard
from botshard.cli.context import FOLDER_VARIABLE, STORE_VARIABLE, URL_VARIABLE
from botshard.cli.main import COMMANDS, help_text, load_command
from tests.cli.running import Cli

_ROOT = Path(__file__).parents[2]
_HEAVY = ("torch", "tensorflow", "keras", "kserve", "minio", "numpy", "pydantic", "fastapi", "rich", "yaml", "asyncio")
_IMPORTED = (
    "import sys\nfrom botshard.cli.main import run\ncode = run({arguments!r})\nsys.stderr.write(' '.join(sys.modules))"
)


def _modules_after(arguments: list[str], folder: Path) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", _IMPORTED.format(arguments=arguments)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(ended.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["version"]], ids=["help", "version", "command"])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    """Asking for help or the version imports no framework, no server and no store."""
    # Whatever command runs, typer reads its options with pydantic; the help does without.
    heavy = set(_HEAVY) - {"pydantic"} if arguments == ["version"] else _HEAVY
    assert _modules_after(arguments, tmp_path).isdisjoint(heavy)


@pytest.mark.parametrize("command", ["bots", "pools", "retire"])
def test_looking_imports_no_framework_and_no_other_home(command: str, tmp_path: Path) -> None:
    """A command on a folder imports neither MinIO's client nor what serves models."""
    arguments = [command, "x"] if command == "retire" else [command]
    assert _modules_after(arguments, tmp_path).isdisjoint(
        {"torch", "tensorflow", "kserve", "minio", "numpy", "fastapi"}
    )


def test_every_command_is_listed_with_its_whole_summary(cli: Cli) -> None:
    """The list of commands cuts no summary short."""
    listed = cli("--help").stdout
    assert [entry.name for entry in COMMANDS if f"{entry.name:10}{entry.summary}" not in listed] == []


@pytest.mark.parametrize("name", [entry.name for entry in COMMANDS])
def test_every_command_has_examples(name: str) -> None:
    """The help of each command ends with examples that begin with the program's name, each on a line of its own."""
    text = load_command(name).help
    assert text is not None
    _, _, examples = text.partition("Examples:\n\n\b\n")
    lines = examples.splitlines()
    assert lines
    assert all(line.startswith("  botshard ") for line in lines)


def test_examples_are_not_filled() -> None:
    """Lines of examples stay lines, the text before them is left to be filled."""
    assert help_text("Does it.\n\nExamples:\n  a  b\n\n  c") == "Does it.\n\nExamples:\n\n\b\n  a  b\n  c"


def test_no_arguments_show_the_help(cli: Cli) -> None:
    """`botshard` alone tells what there is."""
    ended = cli()
    assert "Commands:" in ended.stdout + ended.stderr


def test_a_mistyped_command_gets_a_suggestion(cli: Cli) -> None:
    """An unknown command is wrong usage, and the nearest one is named."""
    ended = cli("publsh")
    assert ended.exit_code == 2
    assert "Did you mean 'publish'?" in ended.stderr
    assert ended.stdout == ""


def test_the_version_is_told_in_three_ways(cli: Cli) -> None:
    """Option, command and document name the same version."""
    assert cli("--version").stdout == f"botshard {botshard.__version__}\n"
    assert cli("version").stdout.startswith(f"botshard {botshard.__version__} (Python ")
    assert json.loads(cli("version", "--json").stdout)["version"] == botshard.__version__


def test_the_manual_has_every_command_and_variable() -> None:
    """`docs/cli.md` describes each command, and names the variables that choose a store and a router."""
    manual = (_ROOT / "docs" / "cli.md").read_text()
    assert [entry.name for entry in COMMANDS if f"| `{entry.name}" not in manual] == []
    assert [name for name in (STORE_VARIABLE, FOLDER_VARIABLE, URL_VARIABLE) if f"`{name}`" not in manual] == []
