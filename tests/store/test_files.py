"""What only the folder does: etags from file times, locks, what it makes of strange folders."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from botshard.sharding.errors import CallerError
from botshard.store.base import StoreDeniedError, StoreUnavailableError
from botshard.store.files import FileStore
from botshard.store.urls import open_store


def test_an_etag_never_comes_back_for_a_key(tmp_path: Path) -> None:
    """X → y → x → deleted → x: every write has an etag of its own, in one tick of the clock too."""
    store = FileStore(tmp_path / "store")
    etags = []
    for _ in range(100):
        etags += [
            store.put("key", b"x"),
            store.put("key", b"y"),
            store.put_if("key", b"x", etag=store.stat("key").etag),
        ]
        store.delete("key")

    assert len(set(etags)) == len(etags)


def test_an_etag_never_comes_back_when_the_clock_is_set_back(tmp_path: Path) -> None:
    """File times grow from the last one of the key or its lock, whatever the clock says."""
    store = FileStore(tmp_path / "store")
    store.put("key", b"x")
    future_ns = time.time_ns() + 10**18
    for lock in (tmp_path / "store" / ".locks").iterdir():
        os.utime(lock, ns=(future_ns, future_ns))

    first = store.put("key", b"x")
    store.delete("key")
    second = store.put("key", b"x")
    third = store.put("key", b"x")

    assert len({first, second, third}) == 3
    assert (tmp_path / "store" / "key").stat().st_mtime_ns > future_ns + 1


def test_a_poll_of_an_unchanged_object_opens_nothing(tmp_path: Path) -> None:
    """One `stat` is all: it works where the file cannot even be opened."""
    store = FileStore(tmp_path / "store")
    etag = store.put("key", b"x")
    path = tmp_path / "store" / "key"
    path.rename(tmp_path / "kept")
    path.symlink_to(tmp_path / "kept")  # `get` refuses to follow it, `stat` does not care

    assert store.get_if_changed("key", etag) is None
    with pytest.raises(StoreDeniedError):
        store.get("key")


def test_a_folder_is_no_object_and_an_object_no_folder(tmp_path: Path) -> None:
    """A key that starts another one's path is refused, in both orders, and nothing is lost."""
    store = FileStore(tmp_path / "store")
    store.put("a/b", b"x")
    for use in (lambda: store.put("a", b"y"), lambda: store.put("a/b/c", b"y"), lambda: store.get("a")):
        with pytest.raises(StoreDeniedError, match="not both"):
            use()

    assert store.get("a/b").data == b"x"


def test_folders_that_a_deletion_empties_are_removed(tmp_path: Path) -> None:
    """Pools come and go; the folder does not remember each of them."""
    store = FileStore(tmp_path / "store")
    store.put("reports/pool/r1.json", b"x")
    store.put("reports/other/r1.json", b"x")

    store.delete("reports/pool/r1.json")

    assert sorted(path.name for path in (tmp_path / "store" / "reports").iterdir()) == ["other"]


def test_opening_again_changes_nothing_and_needs_no_write(tmp_path: Path) -> None:
    """A store on a read-only mount can be opened and read."""
    store = FileStore(tmp_path / "store")
    store.put("key", b"x")
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "store").rglob("*"))

    again = FileStore(tmp_path / "store")

    assert again.get("key").data == b"x"
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "store").rglob("*")) == before


def test_a_store_needs_an_absolute_path() -> None:
    """A relative one would be another store in another working folder."""
    with pytest.raises(CallerError, match="absolute"):
        FileStore(Path("store"))


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    """Opening says what is wrong instead of failing later."""
    (tmp_path / "store").write_text("not a folder")

    with pytest.raises(StoreDeniedError, match="cannot open"):
        FileStore(tmp_path / "store")


def test_a_writer_that_hangs_holds_others_up_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is never given back reads as an unavailable store; reads do not need it."""
    monkeypatch.setattr("botshard.store.files._LOCK_TIMEOUT_S", 0.05)
    store = FileStore(tmp_path / "store")
    store.put("key", b"x")
    with store._locked("key"):
        with pytest.raises(StoreUnavailableError, match="held the lock"):
            store.put("key", b"y")
        assert store.get("key").data == b"x"

    assert store.put("key", b"y")


def test_a_file_system_that_rounds_file_times_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two writes could get one etag nothing is written."""
    store = FileStore(tmp_path / "store")
    whole_seconds = os.utime

    def rounding(target: int, *, ns: tuple[int, int]) -> None:
        whole_seconds(target, ns=(ns[0] // 10**9 * 10**9, ns[1] // 10**9 * 10**9))

    monkeypatch.setattr(os, "utime", rounding)
    with pytest.raises(StoreDeniedError, match="rounds file times"):
        store.put("key", b"x")

    assert list(store.list("")) == []


def test_a_program_that_serves_never_makes_a_store(tmp_path: Path) -> None:
    """An unmounted disk is a store that is away, not one without bots; once it is mounted everything is there."""
    url = (tmp_path / "store").as_uri()
    store = open_store(url, {}, make=False)
    for use in (lambda: store.get("key"), lambda: list(store.list("")), lambda: store.put("key", b"x")):
        with pytest.raises(StoreUnavailableError, match="mount the disk"):
            use()
    assert not list(tmp_path.iterdir())

    open_store(url, {}).put("key", b"x")
    assert store.get("key").data == b"x"
