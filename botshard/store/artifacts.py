"""Artifacts: the immutable files of one bot version, addressed by content, and a local cache of them.

A manifest lists the files by name, digest and size and is itself named by its digest; contents are stored once
however many bots share them. They are written first, the manifest second and the catalog entry last, so a publisher
that dies leaves only objects that nobody refers to, and the next one uses them.

The cache may be shared by any number of processes, each of which may be killed at any moment:

```
<cache>/blobs/<2 hex>/<sha256>     contents, verified before they get this name
<cache>/artifacts/<digest>/        the files, hard links to the contents
<cache>/artifacts/<digest>.json    the manifest
<cache>/scratch/                   work under way; what killed processes leave is swept
```

`artifact_cache.py` bounds it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from botshard.sharding.errors import InvalidDocumentError
from botshard.store.atomic import local_errors, scratch_file, scratch_folder, sweep, whole_file
from botshard.store.base import CorruptObjectError, ObjectStore
from botshard.store.contents import Contents, verified_manifest
from botshard.store.layout import artifact_key, blob_key
from botshard.store.manifests import ArtifactManifest, FileEntry, describe_file, sha256_hex
from botshard.store.presence import Presence

__all__ = ["cached_manifest", "fetch_artifact", "fetch_contents", "read_manifest", "store_artifact"]

_AT_ONCE_BYTES = 16 << 20
"""Contents up to this size go through memory, whole; larger ones are streamed."""
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY})
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})


def store_artifact(
    store: ObjectStore, manifest: ArtifactManifest, /, files: Mapping[str, Path], *, presence: Presence | None = None
) -> str:
    """Store an artifact whose manifest names exactly `files`; returns its digest. What is there already is not sent.

    Args:
        store: where to.
        manifest: of the artifact.
        files: its files, by their names in the manifest.
        presence: what is there already, where many artifacts are stored; None: the store is asked.

    Raises: CorruptObjectError where a file is not (or no longer) what the manifest says; StoreError.
    """
    there = presence or Presence(store)
    for name, entry in sorted(manifest.files.items()):
        key = blob_key(entry.sha256)
        if not there.has(key, size_bytes=entry.size_bytes):
            _store_blob(store, entry, files[name])
            there.note(key, size_bytes=entry.size_bytes)
    data = manifest.encode()
    digest = sha256_hex(data)
    key = artifact_key(digest)
    if not there.has(key, size_bytes=len(data)):
        store.put(key, data)
        there.note(key, size_bytes=len(data))
    return digest


def read_manifest(store: ObjectStore, digest: str, /) -> ArtifactManifest:
    """The manifest with this digest, from the store.

    Raises: ObjectNotFoundError, CorruptObjectError, InvalidDocumentError, StoreError.
    """
    key = artifact_key(digest)
    return verified_manifest(store.get(key).data, digest, key)


def cached_manifest(folder: Path, /) -> ArtifactManifest:
    """The manifest of an artifact whose folder `fetch_artifact` returned.

    Raises: CorruptObjectError, InvalidDocumentError, OSError where it was removed.
    """
    path = _manifest_path(folder)
    return verified_manifest(path.read_bytes(), folder.name, str(path))


def fetch_artifact(store: ObjectStore, digest: str, /, cache_dir: Path) -> Path:
    """As `fetch_contents`, from the store alone."""
    return fetch_contents(Contents(store), digest, cache_dir)


def fetch_contents(contents: Contents, digest: str, /, cache_dir: Path) -> Path:
    """Folder below `cache_dir` with the files of an artifact, every one verified; not to be written to.

    Args:
        contents: asked only for what the cache lacks or holds damaged.
        digest: of the artifact's manifest.
        cache_dir: the cache.

    Raises: ObjectNotFoundError, CorruptObjectError where the store's copy is damaged, InvalidDocumentError for a
        manifest, StoreFullError and StoreDeniedError also for the cache, StoreError.
    """
    artifact_key(digest)  # a digest is checked before it becomes a path
    folder = cache_dir / "artifacts" / digest
    if _is_whole(folder):
        return folder
    scratch = cache_dir / "scratch"
    with local_errors(cache_dir):
        for path in (folder.parent, cache_dir / "blobs", scratch):
            path.mkdir(parents=True, exist_ok=True)
    sweep(scratch)
    manifest = contents.manifest(digest)
    with local_errors(cache_dir), scratch_folder(scratch) as files:
        for name, entry in manifest.files.items():
            target = files / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _place(contents, entry, target, cache_dir, scratch)
        with whole_file(_manifest_path(folder)) as file:
            file.write(manifest.encode())
        _replace_folder(files, folder, scratch)
    return folder


def _store_blob(store: ObjectStore, entry: FileEntry, path: Path) -> None:
    """Send a file's contents; what changed since it was described never stays under the old digest."""
    key = blob_key(entry.sha256)
    found = describe_file(path)
    if found == entry and entry.size_bytes <= _AT_ONCE_BYTES:
        data = path.read_bytes()
        found = FileEntry(sha256_hex(data), len(data))
        if found == entry:
            store.put(key, data)
    elif found == entry:
        store.upload(key, path)
        found = describe_file(path)
        if found != entry:
            store.delete(key)
    if found != entry:
        raise CorruptObjectError(str(path), expected=str(entry), found=str(found))


def _manifest_path(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.json"


def _is_whole(folder: Path) -> bool:
    """Whether the cache has an artifact, every file as its manifest says."""
    try:
        manifest = cached_manifest(folder)
        return all(describe_file(folder / name) == entry for name, entry in manifest.files.items())
    except (OSError, CorruptObjectError, InvalidDocumentError):
        return False


def _fetch_blob(contents: Contents, entry: FileEntry, cache_dir: Path, scratch: Path) -> Path:
    """Verified contents in the cache."""
    path = cache_dir / "blobs" / entry.sha256[:2] / entry.sha256
    with suppress(OSError, InvalidDocumentError):
        if describe_file(path) == entry:
            return path
    path.parent.mkdir(exist_ok=True)
    if entry.size_bytes <= _AT_ONCE_BYTES:
        data = contents.blob(entry)
        with scratch_file(scratch) as (fd, fresh):
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            _keep(fresh, path)
    else:
        with scratch_folder(scratch) as work:
            fresh = work / "blob"
            contents.download(entry, fresh)
            _keep(fresh, path)
    return path


def _keep(fresh: Path, path: Path) -> None:
    fresh.chmod(0o444)
    fresh.replace(path)


def _place(contents: Contents, entry: FileEntry, target: Path, cache_dir: Path, scratch: Path) -> None:
    """Give contents the name of a file. Others may be clearing the cache, and contents without a link go first."""
    for is_last in (False, False, True):
        try:
            _link(_fetch_blob(contents, entry, cache_dir, scratch), target)
            return
        except FileNotFoundError:
            if is_last:
                raise


def _link(blob: Path, target: Path) -> None:
    try:
        os.link(blob, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(blob, target)


def _replace_folder(files: Path, folder: Path, scratch: Path) -> None:
    """Give finished files their place. Another process may have been faster; damaged ones make room."""
    try:
        files.rename(folder)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        if _is_whole(folder):
            return
        with scratch_folder(scratch) as aside, suppress(FileNotFoundError):
            folder.rename(aside / "damaged")
        with suppress(OSError):
            files.rename(folder)
        if not _is_whole(folder):
            raise
