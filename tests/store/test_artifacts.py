"""Artifacts: content-addressed, verified, cached by many processes at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.errors import CallerError, InvalidDocumentError
from botshard.store.artifacts import cached_manifest, fetch_artifact, read_manifest, store_artifact
from botshard.store.base import CorruptObjectError, ObjectNotFoundError, ObjectStore, StoreFullError
from botshard.store.layout import artifact_key, blob_key
from botshard.store.manifests import (
    ArtifactManifest,
    FileEntry,
    check_file_name,
    decode_manifest,
    describe_files,
    sha256_hex,
)
from tests.store.homes import Home, small_disk, start_process

SPEC = {"id": "acme-banking", "model": {"format": "safetensors", "file": "model.safetensors"}}


def make_files(folder: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    files = {}
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files[name] = path
    return files


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"model.safetensors": b"weights" * 30_000, "labels.json": b"[]", "sub/copy.json": b"[]", "empty": b""}
    return make_files(tmp_path / "bot", contents)


@pytest.fixture
def digest(store: ObjectStore, files: dict[str, Path]) -> str:
    """A stored artifact."""
    return store_artifact(store, ArtifactManifest(SPEC, describe_files(files)), files)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_fetched_artifact_has_the_files_that_were_stored(
    store: ObjectStore, digest: str, files: dict[str, Path], tmp_path: Path
) -> None:
    """Names, folders and contents come back, and the manifest with them."""
    folder = fetch_artifact(store, digest, tmp_path / "cache")

    assert snapshot(folder) == {name: path.read_bytes() for name, path in files.items()}
    assert cached_manifest(folder) == read_manifest(store, digest) == ArtifactManifest(SPEC, describe_files(files))
    assert cached_manifest(folder).size_bytes == 210_004


def test_equal_contents_are_stored_once(store: ObjectStore, digest: str, files: dict[str, Path]) -> None:
    """Two bots that share files add one manifest; the same artifact again adds and writes nothing."""
    before = list(store.list(""))
    assert len([entry for entry in before if entry.key.startswith("blobs/")]) == 3

    assert store_artifact(store, ArtifactManifest(SPEC, describe_files(files)), files) == digest
    assert list(store.list("")) == before
    other = store_artifact(store, ArtifactManifest({**SPEC, "id": "other"}, describe_files(files)), files)

    assert other != digest
    assert len(list(store.list(""))) == len(before) + 1


def test_a_cached_artifact_needs_no_store(own_home: Home, files: dict[str, Path], tmp_path: Path) -> None:
    """What is cached and whole is served while the store is away."""
    store = own_home.open()
    digest = store_artifact(store, ArtifactManifest(SPEC, describe_files(files)), files)
    folder = fetch_artifact(store, digest, tmp_path / "cache")
    own_home.take_away()

    assert fetch_artifact(store, digest, tmp_path / "cache") == folder

    own_home.bring_back()
    store.close()


@pytest.mark.parametrize("at_once_bytes", [1 << 20, 4], ids=["at-once", "streamed"])
@pytest.mark.parametrize(
    ("key_of", "damage"),
    [
        pytest.param(lambda entry, _: blob_key(entry.sha256), lambda data: data[:-1], id="truncated blob"),
        pytest.param(lambda entry, _: blob_key(entry.sha256), lambda data: b"W" + data[1:], id="flipped blob"),
        pytest.param(lambda entry, _: blob_key(entry.sha256), lambda _: b"", id="empty blob"),
        pytest.param(lambda _, digest: artifact_key(digest), lambda data: data[:-1], id="truncated manifest"),
        pytest.param(
            lambda _, digest: artifact_key(digest), lambda data: data.replace(b"acme", b"evil"), id="forged manifest"
        ),
    ],
)
def test_a_damaged_object_is_refused_by_its_key(
    store: ObjectStore,
    digest: str,
    files: dict[str, Path],
    tmp_path: Path,
    key_of: Callable[[FileEntry, str], str],
    damage: Callable[[bytes], bytes],
    at_once_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says which object, what was expected and what was found; nothing half is left; a repair works."""
    monkeypatch.setattr("botshard.store.artifacts._AT_ONCE_BYTES", at_once_bytes)
    entry = describe_files(files)["model.safetensors"]
    key = key_of(entry, digest)
    good = store.get(key).data
    bad = damage(good)
    store.put(key, bad)

    with pytest.raises(CorruptObjectError) as caught:
        fetch_artifact(store, digest, tmp_path / "cache")

    assert caught.value.key == key
    assert sha256_hex(good) in caught.value.expected
    assert sha256_hex(bad) in caught.value.found
    assert list((tmp_path / "cache" / "artifacts").iterdir()) == []
    store.put(key, good)
    assert fetch_artifact(store, digest, tmp_path / "cache").is_dir()


def test_a_truncated_blob_is_repaired_by_storing_again(
    store: ObjectStore, digest: str, files: dict[str, Path], tmp_path: Path
) -> None:
    """What is there with another size than its digest implies does not count as there."""
    key = blob_key(describe_files(files)["model.safetensors"].sha256)
    store.put(key, store.get(key).data[:100])

    store_artifact(store, read_manifest(store, digest), files)

    assert fetch_artifact(store, digest, tmp_path / "cache").is_dir()


def test_a_missing_blob_or_manifest_is_not_found(store: ObjectStore, digest: str, tmp_path: Path) -> None:
    """The error names the key."""
    with pytest.raises(ObjectNotFoundError, match="artifacts/0000"):
        fetch_artifact(store, "0" * 64, tmp_path / "cache")
    for entry in list(store.list("blobs/")):
        store.delete(entry.key)
    with pytest.raises(ObjectNotFoundError, match="blobs/"):
        fetch_artifact(store, digest, tmp_path / "cache")
    with pytest.raises(CallerError):
        fetch_artifact(store, "../../etc", tmp_path / "cache")


@pytest.mark.parametrize("what", ["file", "manifest", "missing file", "missing manifest", "symlink"])
def test_a_damaged_cache_heals_itself(store: ObjectStore, digest: str, tmp_path: Path, what: str) -> None:
    """Whatever happened to the cache, a fetch returns verified files."""
    folder = fetch_artifact(store, digest, tmp_path / "cache")
    whole = snapshot(folder)
    path = folder / "model.safetensors"
    manifest = folder.with_name(f"{digest}.json")
    match what:
        case "file":
            path.chmod(0o644)
            path.write_bytes(b"damaged")
        case "manifest":
            manifest.write_bytes(b"{}")
        case "missing file":
            path.unlink()
        case "missing manifest":
            manifest.unlink()
        case _:
            path.unlink()
            path.symlink_to("/etc/passwd")

    assert fetch_artifact(store, digest, tmp_path / "cache") == folder
    assert snapshot(folder) == whole
    assert not path.is_symlink()
    assert list((tmp_path / "cache" / "scratch").iterdir()) == []


def test_a_file_that_changes_while_it_is_stored_is_refused(store: ObjectStore, files: dict[str, Path]) -> None:
    """Contents never get a digest that is not theirs."""
    manifest = ArtifactManifest(SPEC, describe_files(files))
    files["labels.json"].write_bytes(b"{}")

    with pytest.raises(CorruptObjectError, match=r"labels\.json"):
        store_artifact(store, manifest, files)

    assert list(store.list("artifacts/")) == []


def test_big_files_are_stored_and_checked_too(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are not sent at once; one that changes while it is sent does not stay under its old digest."""
    monkeypatch.setattr("botshard.store.artifacts._AT_ONCE_BYTES", 1000)
    files = make_files(tmp_path / "bot", {"big": b"big" * 1000})
    manifest = ArtifactManifest(SPEC, describe_files(files))

    class Changing:
        """The same store, behind which the file changes."""

        def __getattr__(self, name: str) -> object:
            if name == "upload":
                files["big"].write_bytes(b"new" * 1000)
            return getattr(store, name)

    with pytest.raises(CorruptObjectError, match="big"):
        store_artifact(cast("ObjectStore", Changing()), manifest, files)
    assert list(store.list("")) == []

    digest = store_artifact(store, ArtifactManifest(SPEC, describe_files(files)), files)

    assert snapshot(fetch_artifact(store, digest, tmp_path / "cache")) == {"big": b"new" * 1000}


def test_processes_share_a_cache_and_survive_each_others_deaths(home: Home, tmp_path: Path) -> None:
    """Fetches that race, some killed in the middle, leave a whole artifact and no debris after the next fetch."""
    store, cache, rng = home.open(), tmp_path / "cache", random.Random(3)
    files = make_files(tmp_path / "bot", {f"part{index}": bytes([index]) * 1_500_000 for index in range(6)})
    digest = store_artifact(store, ArtifactManifest(SPEC, describe_files(files)), files)
    for _ in range(4):
        processes = [start_process(home, "fetch", digest, str(cache)) for _ in range(2)]
        deadline_s = time.monotonic() + 20
        while not list(cache.glob("scratch/*")) and processes[0].poll() is None:
            assert time.monotonic() < deadline_s
        time.sleep(rng.uniform(0.0, 0.03))  # not to wait for anything: the moment of the kill is what varies
        processes[0].kill()
        assert processes[1].communicate(timeout=30)[0].strip() == str(cache / "artifacts" / digest)
        processes[0].communicate()
        assert snapshot(cache / "artifacts" / digest) == {name: path.read_bytes() for name, path in files.items()}
        for path in (cache / "artifacts" / digest).iterdir():
            path.unlink()
        for path in (cache / "blobs").glob("*/*"):
            path.unlink()

    fetch_artifact(store, digest, cache)

    assert list((cache / "scratch").iterdir()) == []
    store.close()


def test_a_full_cache_reads_as_full(store: ObjectStore, digest: str, tmp_path: Path) -> None:
    """The error names the cache, nothing half is left in it, and with space again the fetch works."""
    cache = tmp_path / "disk" / "cache"
    with small_disk(tmp_path / "disk", "300k"):
        (tmp_path / "disk" / "filler").write_bytes(b"f" * 200_000)
        with pytest.raises(StoreFullError, match=f"{cache}.*free some space"):
            fetch_artifact(store, digest, cache)
        assert list((cache / "artifacts").iterdir()) == list((cache / "scratch").iterdir()) == []
        (tmp_path / "disk" / "filler").unlink()

        assert fetch_artifact(store, digest, cache).is_dir()


@pytest.mark.parametrize(
    "name", ["", "/abs", "../up", "a/../b", "a//b", "a/", ".", "..", "a\\b", "a\x00b", "a\nb", "x" * 201, "\ud800"]
)
def test_a_file_name_never_leaves_the_folder(name: str) -> None:
    """Such a name is refused when a manifest is made and when one is read."""
    assert check_file_name(name, "files") is not None
    entry = FileEntry("0" * 64, 1)
    with pytest.raises(CallerError):
        ArtifactManifest(SPEC, {name: entry}).encode()
    if name == "\ud800":
        return
    good = ArtifactManifest(SPEC, {"good": entry}).encode().decode()
    escaped = name.replace("\\", "\\\\").replace("\x00", "\\u0000").replace("\n", "\\n")
    with pytest.raises(InvalidDocumentError, match="files"):
        decode_manifest(good.replace('"good"', f'"{escaped}"').encode())


def test_symbolic_links_and_folders_are_no_files(tmp_path: Path) -> None:
    """What an artifact holds is contents, not pointers to them."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("link", "."):
        with pytest.raises(InvalidDocumentError, match="must be a file"):
            describe_files({"x": tmp_path / name})


def test_a_manifest_is_refused_with_every_problem() -> None:
    """All wrong fields are named at once, files below files too."""
    digest = "0" * 64
    data = f"""{{"format":"botshard.artifact/v1","more":1,"spec":[],"files":{{
        "a":{{"sha256":"{digest}","bytes":1}},
        "a/b":{{"sha256":"{digest}","bytes":1}},
        "c":{{"sha256":"xyz","bytes":-1,"mode":"0777"}}}}}}"""

    with pytest.raises(InvalidDocumentError) as caught:
        decode_manifest(data.encode())

    fields = {problem.field for problem in caught.value.problems}
    assert fields == {"more", "spec", "files.c.mode", "files.c.sha256", "files.c.bytes", "files.a/b"}


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=10,
)
_NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/\\"), min_size=1, max_size=20
)
_ENTRIES = st.builds(FileEntry, st.binary(min_size=32, max_size=32).map(bytes.hex), st.integers(0, 2**50))


@given(
    spec=st.dictionaries(st.text(st.characters(codec="utf-8")), _JSON, max_size=4),
    files=st.dictionaries(_NAMES.filter(lambda name: name not in (".", "..")), _ENTRIES, max_size=4),
)
def test_a_manifest_survives_its_codec_and_has_one_digest(spec: dict[str, object], files: dict[str, FileEntry]) -> None:
    """Decoding what was encoded gives an equal manifest; the order of its keys does not matter."""
    manifest = ArtifactManifest(spec, files)
    reordered = ArtifactManifest(dict(reversed(spec.items())), dict(reversed(files.items())))

    assert decode_manifest(manifest.encode()) == manifest
    assert reordered.digest == manifest.digest == sha256_hex(manifest.encode())
