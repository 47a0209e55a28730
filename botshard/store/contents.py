"""Where the contents of an artifact are got from: somebody nearer who has them, else the store. Every one is verified.

All that is asked for here is immutable and named by its digest, so it does not matter who gives it: what is not what
its name says is not taken.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from botshard.store.base import CorruptObjectError, ObjectStore
from botshard.store.layout import artifact_key, blob_key
from botshard.store.manifests import ArtifactManifest, FileEntry, decode_manifest, describe_file, sha256_hex

__all__ = ["Contents", "Nearby", "Origin", "verified_manifest"]

_MOST_MANIFEST_BYTES: Final = 16 << 20
"""Of a manifest from nearby. It may hold a vocabulary, as `bot.yaml` may."""


class Origin(StrEnum):
    """Where an artifact was."""

    DISK = "disk"
    """On this machine, whole."""
    SIBLING = "sibling"
    """Nearby, at least what was not on disk."""
    STORE = "store"
    """In the store, at least in part."""


class Nearby(Protocol):
    """Somebody who may have contents nearer than the store. Methods block and may be called from any thread."""

    def read(self, sha256: str, /, *, most_bytes: int) -> bytes | None:
        """Contents with this digest, verified; None where they are not to be had, whatever the reason."""
        ...

    def download(self, sha256: str, path: Path, /, *, size_bytes: int) -> bool:
        """Whether contents with this digest and size, verified, are now in the new file `path`.

        Raises: OSError where the file cannot be written.
        """
        ...


class Contents:
    """The contents of one artifact, for whoever fetches it. Used by one thread."""

    def __init__(self, store: ObjectStore, nearby: Nearby | None = None) -> None:
        self._store = store
        self._nearby = nearby
        self.origin = Origin.DISK
        """Of what was got so far; disk: nothing had to be."""

    def manifest(self, digest: str, /) -> ArtifactManifest:
        """The manifest with this digest.

        Raises: ObjectNotFoundError, CorruptObjectError, InvalidDocumentError, StoreError.
        """
        key = artifact_key(digest)
        if self._nearby is not None:
            data = self._nearby.read(digest, most_bytes=_MOST_MANIFEST_BYTES)
            if data is not None:
                self._note_nearby()
                return decode_manifest(data, key)
        self.origin = Origin.STORE
        return verified_manifest(self._store.get(key).data, digest, key)

    def blob(self, entry: FileEntry, /) -> bytes:
        """The contents of a file.

        Raises: ObjectNotFoundError, CorruptObjectError, StoreError.
        """
        if self._nearby is not None:
            data = self._nearby.read(entry.sha256, most_bytes=entry.size_bytes)
            if data is not None:
                self._note_nearby()
                return data
        self.origin = Origin.STORE
        key = blob_key(entry.sha256)
        data = self._store.get(key).data
        _check(key, FileEntry(sha256_hex(data), len(data)), entry)
        return data

    def download(self, entry: FileEntry, path: Path, /) -> None:
        """The contents of a file into the new file `path`, streamed.

        Raises: ObjectNotFoundError, CorruptObjectError, StoreError.
        """
        if self._nearby is not None and self._nearby.download(entry.sha256, path, size_bytes=entry.size_bytes):
            self._note_nearby()
            return
        self.origin = Origin.STORE
        key = blob_key(entry.sha256)
        self._store.download(key, path)
        _check(key, describe_file(path), entry)

    def _note_nearby(self) -> None:
        if self.origin is Origin.DISK:
            self.origin = Origin.SIBLING


def verified_manifest(data: bytes, digest: str, /, where: str) -> ArtifactManifest:
    """The manifest in `data`, which is at `where`.

    Raises: CorruptObjectError where it does not have this digest, InvalidDocumentError.
    """
    found = sha256_hex(data)
    if found != digest:
        raise CorruptObjectError(where, expected=f"sha256 {digest}", found=f"{len(data)} bytes with sha256 {found}")
    return decode_manifest(data, where)


def _check(key: str, found: FileEntry, entry: FileEntry) -> None:
    if found != entry:
        raise CorruptObjectError(key, expected=str(entry), found=str(found))
