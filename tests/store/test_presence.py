"""Knowing what is stored already: by one listing where much is asked, else by asking."""

from __future__ import annotations

from pathlib import Path

import pytest

from botshard.store.base import Entry, ObjectStore
from botshard.store.files import FileStore
from botshard.store.layout import artifact_key, blob_key
from botshard.store.presence import Presence

_DIGESTS = [f"{number:064x}" for number in range(40)]


class _Counting(FileStore):
    """A folder that counts what it is asked."""

    asked = 0

    def stat(self, key: str, /) -> Entry:
        """As ever."""
        self.asked += 1
        return super().stat(key)


def _fill(store: ObjectStore) -> None:
    for number, digest in enumerate(_DIGESTS):
        store.put(blob_key(digest), b"x" * number)
        store.put(artifact_key(digest), b"y" * number)


@pytest.mark.parametrize(
    ("questions", "asked"), [(None, 4), (40, 0), (10, 4)], ids=["asked", "listed", "far-more-than-questions"]
)
def test_both_ways_tell_the_same(questions: int | None, asked: int, tmp_path: Path) -> None:
    """What is there with its size is there; what is cut short or absent is not. A far larger store is not listed."""
    store = _Counting(tmp_path / "store")
    _fill(store)
    presence = Presence(store) if questions is None else Presence.listed(store, questions=questions)
    assert presence.has(blob_key(_DIGESTS[7]), size_bytes=7)
    assert presence.has(artifact_key(_DIGESTS[9]), size_bytes=9)
    assert not presence.has(blob_key(_DIGESTS[7]), size_bytes=8)
    assert not presence.has(blob_key("f" * 64), size_bytes=1)
    assert store.asked == asked


@pytest.mark.parametrize("questions", [None, 40], ids=["asked", "listed"])
def test_what_was_stored_meanwhile_is_known(questions: int | None, store: ObjectStore) -> None:
    """A file that several artifacts share is sent once."""
    presence = Presence(store) if questions is None else Presence.listed(store, questions=questions)
    key = blob_key(_DIGESTS[3])
    assert not presence.has(key, size_bytes=3)
    store.put(key, b"xyz")
    presence.note(key, size_bytes=3)
    assert presence.has(key, size_bytes=3)
