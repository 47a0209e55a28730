"""`botshard backbone`, as an operator uses it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.running import Cli
from tests.encoders import head_folder, write_encoder


def test_a_backbone_is_published_listed_and_shown(cli: Cli, tmp_path: Path) -> None:
    """Created, then unchanged; the list has it; shown with its sizes and how many bots are on it."""
    write_encoder(cli.folder / "encoder")
    assert cli("backbone", "publish", "tiny", "encoder").stdout.startswith("tiny  created")
    assert cli.document("backbone", "publish", "tiny", "encoder")["status"] == "unchanged"
    assert [one["name"] for one in cli.document("backbone", "list")["backbones"]] == ["tiny"]
    assert cli("backbone", "list").stdout.splitlines()[1].split()[0] == "tiny"
    head_folder(cli.folder, "acme-banking")
    assert cli("publish", "acme-banking-1").exit_code == 0
    shown = cli.document("backbone", "show", "tiny")
    assert (shown["encoder"]["width"], shown["bots"]) == (12, 1)
    assert "bots on it  1" in cli("backbone", "show", "tiny").stdout


def test_a_taken_name_and_a_bad_folder_are_refused(cli: Cli) -> None:
    """Exit code 1, and what to do."""
    write_encoder(cli.folder / "one")
    write_encoder(cli.folder / "two", seed=2)
    cli("backbone", "publish", "tiny", "one")
    taken = cli("backbone", "publish", "tiny", "two")
    assert (taken.exit_code, "under another name" in taken.stderr) == (1, True)
    bad = cli("backbone", "publish", "other", ".")
    assert (bad.exit_code, "config.json: must be a small file" in bad.stderr) == (1, True)
    unknown = cli("backbone", "show", "tinny")
    assert (unknown.exit_code, "did you mean tiny" in unknown.stderr) == (1, True)


def test_wrong_usage_of_backbone_is_told(cli: Cli) -> None:
    """A name and one source of files."""
    assert cli("backbone", "publish", "tiny").exit_code == 2
    assert cli("backbone", "publish", "tiny", "folder", "--package", "p").exit_code == 2
    assert cli("backbone", "show").exit_code == 2


def test_without_a_store_nothing_is_listed(cli: Cli) -> None:
    """Listing makes no store; an empty one says so."""
    assert cli("backbone", "list").exit_code != 0
    write_encoder(cli.folder / "encoder")
    cli("publish", "nothing-here")
    assert "no backbones" in cli("backbone", "list").stderr
