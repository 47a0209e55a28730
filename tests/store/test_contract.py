"""What every store does, run against a folder and against MinIO."""

from __future__ import annotations

from pathlib import Path

import pytest

from botshard.sharding.errors import CallerError
from botshard.store.base import Entry, ObjectNotFoundError, ObjectStore, PreconditionFailedError
from tests.store.homes import Home

BIG_BYTES = 12_000_000  # above one part of an upload to S3


def test_what_was_put_is_got_with_the_etag_that_put_returned(store: ObjectStore) -> None:
    """`get` returns the bytes and the etag of the last `put`, empty objects included."""
    for data in (b"one", b"", b"\x00\xff" * 100_000):
        etag = store.put("a/b.json", data)

        blob = store.get("a/b.json")

        assert (blob.data, blob.etag) == (data, etag)
        assert store.stat("a/b.json") == Entry("a/b.json", etag, len(data))


def test_another_opening_of_the_store_sees_the_same_objects(home: Home, store: ObjectStore) -> None:
    """Etags and objects belong to the store, not to who opened it."""
    etag = store.put("key", b"data")

    other = home.open()

    assert other.get_if_changed("key", etag) is None
    assert list(other.list("")) == [Entry("key", etag, 4)]
    other.close()


def test_an_absent_object_is_not_found(store: ObjectStore, tmp_path: Path) -> None:
    """Every way to read says ObjectNotFoundError with the key."""
    for read in (
        lambda: store.get("no/thing"),
        lambda: store.get_if_changed("no/thing", None),
        lambda: store.get_if_changed("no/thing", "some-etag"),
        lambda: store.stat("no/thing"),
        lambda: store.download("no/thing", tmp_path / "file"),
    ):
        with pytest.raises(ObjectNotFoundError, match="'no/thing'") as caught:
            read()
        assert caught.value.key == "no/thing"
    assert not (tmp_path / "file").exists()


def test_a_poll_tells_a_change_once(store: ObjectStore) -> None:
    """`get_if_changed` is None while the etag holds, and the new object when it does not."""
    first = store.put("polled", b"1")
    assert store.get_if_changed("polled", first) is None
    second = store.put("polled", b"2")

    changed = store.get_if_changed("polled", first)

    assert changed is not None
    assert (changed.data, changed.etag) == (b"2", second)
    assert store.get_if_changed("polled", second) is None


def test_a_poll_of_a_deleted_object_is_not_found(store: ObjectStore) -> None:
    """Deletion is a change that a poll cannot miss."""
    etag = store.put("polled", b"1")
    store.delete("polled")

    with pytest.raises(ObjectNotFoundError):
        store.get_if_changed("polled", etag)


def test_a_conditional_write_creates_only_what_is_absent(store: ObjectStore) -> None:
    """With etag None the second writer is told."""
    etag = store.put_if("new", b"1", etag=None)

    with pytest.raises(PreconditionFailedError, match="'new'"):
        store.put_if("new", b"2", etag=None)

    assert store.get("new").data == b"1"
    assert store.get("new").etag == etag


def test_a_conditional_write_replaces_only_what_was_read(store: ObjectStore) -> None:
    """A stale etag, or that of a deleted object, writes nothing."""
    first = store.put("key", b"1")
    second = store.put_if("key", b"2", etag=first)
    for stale in (first, "ffffffffffffffffffffffffffffffff"):
        with pytest.raises(PreconditionFailedError):
            store.put_if("key", b"3", etag=stale)
    assert store.get("key").data == b"2"

    store.delete("key")

    with pytest.raises(PreconditionFailedError, match="no object"):
        store.put_if("key", b"3", etag=second)
    assert list(store.list("")) == []


def test_a_listing_is_sorted_by_whole_key_and_filters_by_prefix(store: ObjectStore) -> None:
    """Order is that of the keys' bytes, across folders; a prefix need not end at a slash."""
    keys = ["a-b/x", "a.json", "a/b/c", "a/b0", "a/z", "a0", "b/1", "reports/p/r1.json", "reports/p2/r1.json"]
    for key in keys:
        store.put(key, key.encode())

    assert [entry.key for entry in store.list("")] == sorted(keys)
    assert [entry.key for entry in store.list("a/")] == ["a/b/c", "a/b0", "a/z"]
    assert [entry.key for entry in store.list("a/b")] == ["a/b/c", "a/b0"]
    assert [entry.key for entry in store.list("reports/p/")] == ["reports/p/r1.json"]
    assert list(store.list("nothing/here")) == []
    assert [entry.size_bytes for entry in store.list("a")] == [len(key) for key in sorted(keys) if key[0] == "a"]


def test_a_listing_is_longer_than_a_page(store: ObjectStore) -> None:
    """1,050 objects are listed whole: an S3 page holds 1,000."""
    etags = {f"many/{index:04d}": store.put(f"many/{index:04d}", b"") for index in range(1050)}

    listed = {entry.key: entry.etag for entry in store.list("many/")}

    assert listed == etags


def test_a_deleted_object_is_gone_and_deleting_it_again_is_fine(store: ObjectStore) -> None:
    """`delete` says nothing of what is absent, and leaves the neighbours."""
    store.put("x/1", b"1")
    store.put("x/2", b"2")

    store.delete("x/1")
    store.delete("x/1")
    store.delete("y/never/was")

    assert [entry.key for entry in store.list("")] == ["x/2"]


def test_big_files_go_up_and_down_whole(store: ObjectStore, tmp_path: Path) -> None:
    """`upload` and `download` keep contents of any size, and replace what is there."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(251)) * (BIG_BYTES // 251))
    target.write_bytes(b"old")

    etag = store.upload("big/file", source)
    store.download("big/file", target)

    assert target.read_bytes() == source.read_bytes()
    assert store.stat("big/file") == Entry("big/file", etag, source.stat().st_size)
    assert store.get_if_changed("big/file", etag) is None
    assert sorted(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        ".locks/00",
        "a/.hidden",
        "a b",
        "ä",
        "a\n",
        "a/" * 17 + "a",
    ],
)
def test_a_key_never_leaves_the_store(store: ObjectStore, key: str, tmp_path: Path) -> None:
    """Keys that could be another path, or need quoting, are refused by every method."""
    for use in (
        lambda: store.get(key),
        lambda: store.get_if_changed(key, "etag"),
        lambda: store.stat(key),
        lambda: store.put(key, b""),
        lambda: store.put_if(key, b"", etag=None),
        lambda: store.delete(key),
        lambda: store.download(key, tmp_path / "file"),
        lambda: store.upload(key, tmp_path),
    ):
        with pytest.raises((CallerError, IsADirectoryError)):
            use()


def test_a_prefix_never_leaves_the_store(store: ObjectStore) -> None:
    """A listing cannot be led out of the store either."""
    for prefix in ("../", "/", "a/../", ".locks"):
        with pytest.raises(CallerError):
            list(store.list(prefix))
