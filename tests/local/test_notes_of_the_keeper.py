"""A disk that is full is no reason for a stack to end: what could not be written is written later."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from botshard.local.records import Notes, write_json


def test_what_could_not_be_written_is_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last document of each file, with one line when it begins to fail and one when it works again."""
    caplog.set_level(logging.INFO)
    folder = tmp_path / "run"
    notes = Notes()
    for turn in range(3):
        notes.write(folder / "ports.json", {"turn": turn})
        notes.write(folder / "stack.json", {"turn": -turn})
        notes.retry()
    folder.mkdir()
    notes.retry()
    notes.retry()
    assert {path.name: json.loads(path.read_bytes()) for path in folder.iterdir()} == {
        "ports.json": {"turn": 2},
        "stack.json": {"turn": -2},
    }
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_file_that_cannot_be_replaced_leaves_no_half_of_it(tmp_path: Path) -> None:
    """The name is taken by a folder, so the rename fails after everything was written."""
    (tmp_path / "stack.json").mkdir()
    with pytest.raises(OSError, match=r"stack\.json"):
        write_json(tmp_path / "stack.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]
