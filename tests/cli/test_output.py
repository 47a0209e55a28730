"""Values on their way to people and to programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from botshard.cli.output import Column, as_document, plain, print_pairs, print_table
from botshard.sharding.residency import Residency


@dataclass(frozen=True, slots=True)
class _Inner:
    rate_per_s: float
    state: Residency


@dataclass(frozen=True, slots=True)
class _Outer:
    some_paths: tuple[Path, ...]
    by_name: dict[str, _Inner]
    nothing: None = None


def test_dataclasses_become_plain_json() -> None:
    """Keys of fields are in camel case, keys of mappings stay, enumerations are their values."""
    value = _Outer((Path("/a"),), {"some_name": _Inner(1.5, Residency.RESIDENT)})
    assert as_document(value) == {
        "somePaths": ["/a"],
        "byName": {"some_name": {"ratePerS": 1.5, "state": "resident"}},
        "nothing": None,
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢", "plain ü 漢"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nb", "a\nb"),
        ("\u202eabc", "\\u202eabc"),
    ],
    ids=["text", "escape", "lines", "direction"],
)
def test_control_characters_are_shown_not_sent(text: str, shown: str) -> None:
    """What somebody else wrote cannot move the cursor or turn the text around."""
    assert plain(text) == shown


def test_tables_are_aligned_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers stand to the right, nothing is cut, absent cells are dashes, a row stays a line."""
    long = "x" * 300
    print_table((Column("NAME"), Column("N", right=True), Column("END")), [(long, 7, None), ("a\nb", None, "z")])
    titles, first, second = capsys.readouterr().out.splitlines()
    assert titles == "NAME" + " " * 298 + "N  END"
    assert first == f"{long}  7  -"
    assert second == "a\\nb" + " " * 298 + "-  z"


def test_pairs_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Values stand under each other."""
    print_pairs([("a", 1), ("long name", None)])
    assert capsys.readouterr().out == "a          1\nlong name  -\n"
