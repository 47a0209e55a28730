"""Stores that go away and come back, and stores that are full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from botshard.store.base import ObjectStore, StoreFullError, StoreUnavailableError
from botshard.store.files import FileStore
from botshard.store.urls import open_store
from tests.servers import MinioServer
from tests.store.homes import FilesHome, Home, small_disk, start_process
from tests.waiting import eventually


def _uses(store: ObjectStore, path: Path) -> list[Callable[[], object]]:
    return [
        lambda: store.get("key"),
        lambda: store.get_if_changed("key", "etag"),
        lambda: store.stat("key"),
        lambda: store.get("other"),
        lambda: store.put("key", b"2"),
        lambda: store.put_if("key", b"2", etag=None),
        lambda: store.delete("key"),
        lambda: list(store.list("")),
        lambda: store.upload("key", path),
        lambda: store.download("key", path.with_suffix(".down")),
    ]


def test_a_store_that_is_away_is_unavailable_and_serves_again_when_it_is_back(own_home: Home, tmp_path: Path) -> None:
    """No call takes absence of the store for absence of an object, and no store is opened anew afterwards."""
    file = tmp_path / "file"
    file.write_bytes(b"file")
    store = own_home.open()
    etag = store.put("key", b"1")
    own_home.take_away()

    for use in _uses(store, file):
        with pytest.raises(StoreUnavailableError, match=r"gone|cannot be reached"):
            use()
    own_home.bring_back()

    assert store.get_if_changed("key", etag) is None
    assert [entry.key for entry in store.list("")] == ["key"]
    store.put("key", b"3")
    assert store.get("key").data == b"3"
    assert not file.with_suffix(".down").exists()
    store.close()


def test_an_empty_folder_in_its_place_is_not_taken_for_the_store(tmp_path: Path) -> None:
    """A mount point without its disk: reads are refused and nothing is written below it."""
    home = FilesHome(tmp_path / "store")
    store = home.open()
    store.put("key", b"1")
    home.take_away()
    home.root.mkdir()

    for use in _uses(store, Path(__file__)):
        with pytest.raises(StoreUnavailableError, match="mount the disk"):
            use()

    assert list(home.root.iterdir()) == []


@pytest.mark.minio
def test_a_server_that_starts_late_is_waited_for_by_nobody_but_the_caller(own_minio: MinioServer) -> None:
    """Opening an S3 store sends nothing; the first call that finds the server works."""
    own_minio.kill()
    store = open_store(own_minio.url(), own_minio.environ)
    with pytest.raises(StoreUnavailableError):
        store.put("key", b"1")

    own_minio.start()

    assert eventually(lambda: store.put("key", b"1"))
    store.close()


def test_a_full_disk_refuses_the_write_and_keeps_what_was_there(tmp_path: Path) -> None:
    """StoreFullError, the old object whole, no leftovers; with space again it goes on."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 2_000_000)
    with small_disk(tmp_path / "disk", "1m"):
        store = FileStore(tmp_path / "disk" / "store")
        store.put("key", b"old" * 100)
        store.put("filler", b"f" * 700_000)
        writes: list[Callable[[], str]] = [
            lambda: store.put("key", b"n" * 600_000),
            lambda: store.put_if("new", b"n" * 600_000, etag=None),
            lambda: store.upload("key", file),
        ]
        for write in writes:
            with pytest.raises(StoreFullError, match="free some space"):
                write()
        with pytest.raises(StoreFullError):
            store.download("filler", tmp_path / "disk" / "down")

        assert store.get("key").data == b"old" * 100
        assert [entry.key for entry in store.list("")] == ["filler", "key"]
        assert list((tmp_path / "disk" / "store" / ".scratch").iterdir()) == []
        store.delete("filler")
        store.put("key", b"n" * 600_000)
        assert len(store.get("key").data) == 600_000


def test_a_limit_on_file_sizes_reads_as_a_full_store(tmp_path: Path) -> None:
    """Quota, limit and full disk are the same to a caller."""
    home = FilesHome(tmp_path / "store")
    store = home.open()
    store.put("key", b"old")

    process = start_process(home, "overflow", "key", "100000")

    assert process.communicate(timeout=30)[0].strip() == "StoreFullError"
    assert store.get("key").data == b"old"
    assert list((home.root / ".scratch").iterdir()) == []


@pytest.mark.minio
def test_a_full_server_refuses_the_write_and_keeps_what_was_there(own_minio: MinioServer, tmp_path: Path) -> None:
    """The server's own ways to say so become StoreFullError."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 8_000_000)
    own_minio.kill()
    with small_disk(own_minio.data, "64m"):
        try:
            own_minio.start()
            store = open_store(own_minio.url(), own_minio.environ)
            store.put("key", b"old")

            def fill() -> None:
                for index in range(20):
                    store.put(f"filler/{index}", b"f" * 8_000_000)

            for _ in ("the write that fills the disk", "one after the server has noticed"):
                with pytest.raises(StoreFullError, match="no space left"):
                    fill()
            with pytest.raises(StoreFullError, match="no space left"):
                store.upload("filler/file", file)

            assert store.get("key").data == b"old"
            store.close()
        finally:
            own_minio.kill()
