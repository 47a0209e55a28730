"""From the name of a thing in the glossary to the file where it lives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| \*\*(.+?)\*\* \| (.+) \| `([^`]+)` \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE
)
# The words that everything else is said in.
WORDS = [
    "bot",
    "artifact",
    "catalog",
    "backbone",
    "family",
    "shard",
    "pool",
    "replica",
    "placement",
    "plan",
    "move",
    "residency",
    "footprint",
    "observe",
    "place",
    "apply",
    "publish",
    "route",
    "load",
    "warm",
    "drain",
    "evict",
    "quarantine",
    "front",
    "keeper",
    "zygote",
    "home",
    "epoch",
    "target",
    "lingering",
    "manifest",
    "blob",
    "lifeline",
]


@pytest.mark.parametrize(("word", "meaning", "file"), ROWS, ids=[row[0] for row in ROWS])
def test_a_word_has_a_meaning_and_a_file(word: str, meaning: str, file: str) -> None:
    """The file is there, and the meaning is one sentence or two."""
    assert (ROOT / file).is_file()
    assert meaning.endswith(".")
    assert meaning.count(". ") <= 1


def test_every_row_is_read_and_no_word_stands_twice() -> None:
    """What the test above sees is the whole glossary, in the order of the alphabet within each part."""
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = [row[0] for row in ROWS]
    assert len(words) == text.count("| **")
    assert len(set(words)) == len(words)
    for part in text.split("\n## ")[1:]:
        found = [word.lower() for word in re.findall(r"^\| \*\*(.+?)\*\*", part, re.MULTILINE)]
        assert found == sorted(found)


def test_no_important_word_is_left_out() -> None:
    """Each of them, also as one of several in a row."""
    words = {word for row in ROWS for word in row[0].split(", ")}
    assert set(WORDS) <= words
    assert {"pool group", "routing table"} <= words
