"""Many processes at one store, some of them killed."""

from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path

import pytest

from botshard.store.base import ObjectStore
from tests.store.homes import FilesHome, Home, start_process

WRITERS = 8
INCREMENTS = 25
KILLS = 5
BIG_BYTES = 3_000_000


def test_eight_racing_processes_lose_no_update(home: Home, store: ObjectStore) -> None:
    """Compare-and-swap by eight processes counts every increment exactly once."""
    processes = [start_process(home, "increment", "counter", str(INCREMENTS)) for _ in range(WRITERS)]

    assert [process.communicate(timeout=100)[0] for process in processes] == [""] * WRITERS
    assert [process.returncode for process in processes] == [0] * WRITERS
    assert json.loads(store.get("counter").data)["count"] == WRITERS * INCREMENTS


@pytest.mark.parametrize("verb", ["put", "upload"])
def test_a_writer_killed_in_the_middle_leaves_the_old_or_the_new_object_whole(
    home: Home, store: ObjectStore, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` at any moment of a write damages nothing, and what it leaves behind is in no listing."""
    monkeypatch.setenv("TEST_SCRATCH", str(tmp_path))
    rng = random.Random(7)
    for _ in range(KILLS):
        process = start_process(home, "overwrite", "key", str(BIG_BYTES), verb)
        assert process.stdout is not None
        process.stdout.readline()  # the first object is written, the next one is under way
        time.sleep(rng.uniform(0.0, 0.05))  # not to wait for anything: the moment of the kill is what varies
        process.kill()
        process.communicate()

        data = store.get("key").data

        assert hashlib.sha256(data[64:]).hexdigest().encode() == data[:64]
        assert [entry.key for entry in store.list("")] == ["key"]
    etag = store.put("key", b"later")  # no lock is left held
    assert store.get_if_changed("key", etag) is None


def test_what_killed_writers_leave_is_swept_by_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder does not fill with unfinished files, and those of living writers are left alone."""
    monkeypatch.setenv("TEST_SCRATCH", str(tmp_path))
    home = FilesHome(tmp_path / "store")
    home.open()
    scratch = home.root / ".scratch"
    left = 0
    for _ in range(50):
        process = start_process(home, "overwrite", "key", str(20_000_000), "put")
        assert process.stdout is not None
        process.stdout.readline()
        while not list(scratch.iterdir()):
            assert process.poll() is None
        home.open()
        process.kill()
        process.communicate()
        left = len(list(scratch.iterdir()))
        if left:
            break

    home.open()

    assert left == 1, "no kill fell into a write"
    assert list(scratch.iterdir()) == []
