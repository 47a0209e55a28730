"""A bound on the cache of artifacts: what was used longest ago goes, and nothing that somebody is loading.

The cache (`artifacts.py`) may be shared by any number of processes, each of which may be killed at any moment, and
each of which may remove from it. What they agree by are locks of the kernel, which end with their process:

```
<cache>/locks/<2 hex>      held shared while an artifact whose digest begins so is fetched and loaded,
                           held alone while one is removed; the files stay for good
<cache>/locks/trim         held by the one process that removes
```

When an artifact was used last is the time of its manifest, which every use sets. A removal renames the folder into the
scratch folder first, so a process killed half-way leaves something to sweep and never half an artifact. Contents go
when no artifact is linked to them any more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from botshard.sharding.errors import InvalidDocumentError
from botshard.store.artifacts import cached_manifest, fetch_contents
from botshard.store.atomic import local_errors, scratch_folder, sweep
from botshard.store.base import CorruptObjectError, ObjectStore
from botshard.store.contents import Contents, Nearby, Origin
from botshard.store.layout import is_digest

__all__ = ["ArtifactCache"]

_LOOK_SHARE: Final = 0.02
"""Of the bound: after so many fetched bytes a process looks at the whole cache again."""
_TRIM_SHARE: Final = 0.9
"""Of the bound: down to this, so that several processes that fetch between two looks stay within it."""
_ORPHAN_AGE_S: Final = 60.0
"""Contents that no artifact is linked to are somebody's who is just fetching, or a killed process's: by age."""
_MANIFEST: Final = ".json"
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class _Kept:
    """One artifact in the cache."""

    digest: str
    used_at_s: float


class ArtifactCache:
    """The cache in one folder, as one process uses it. Its methods block; called from any thread."""

    def __init__(self, folder: Path, /, *, most_bytes: int | None = None, nearby: Nearby | None = None) -> None:
        """`nearby` is asked before the store."""
        self.folder = folder
        self.on_used: Callable[[Origin], None] = lambda _: None
        """Called with where an artifact was each time that one is used."""
        self._most_bytes = most_bytes
        self._nearby = nearby
        self._lock = threading.Lock()
        self._fetched_bytes: float = float("inf")  # what others left before this process began is not known

    @contextmanager
    def use(self, store: ObjectStore, digest: str, /, *, size_bytes: int) -> Iterator[Path]:
        """Folder with an artifact's verified files, which stays for the length of the block.

        Args:
            store: where it is fetched from unless the cache has it.
            digest: of its manifest.
            size_bytes: of its files, as the catalog says.

        Raises: what `fetch_contents` raises.
        """
        manifest = self.folder / "artifacts" / f"{digest}{_MANIFEST}"
        was_there = manifest.exists()
        try:
            with self._in_use(digest):
                contents = Contents(store, self._nearby)
                path = fetch_contents(contents, digest, self.folder)
                self.on_used(contents.origin)
                with suppress(OSError):  # a cache that somebody else has filled, and that is read-only
                    os.utime(manifest)
                yield path
        finally:
            if not was_there:
                self._note_fetched(size_bytes)

    def open_content(self, digest: str, /) -> BinaryIO | None:
        """A blob or a manifest that the cache has under this sha256, to be read and closed; None: it has none.

        What is in it was verified when it came, and is to be verified again by whoever gets it.
        """
        if not is_digest(digest):
            return None
        for path in (self.folder / "blobs" / digest[:2] / digest, self.folder / "artifacts" / f"{digest}{_MANIFEST}"):
            with suppress(OSError):
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    return open(fd, "rb")  # noqa: PTH123 - the caller closes it
                os.close(fd)
        return None

    def _note_fetched(self, size_bytes: int) -> None:
        if self._most_bytes is None:
            return
        with self._lock:
            self._fetched_bytes += size_bytes
            if self._fetched_bytes < self._most_bytes * _LOOK_SHARE:
                return
            self._fetched_bytes = 0.0
        with local_errors(self.folder):
            self.trim(self._most_bytes)

    def trim(self, most_bytes: int, /) -> int:
        """Remove what was used longest ago until the cache has room again; the bytes that are left.

        Removes nothing where the cache is within its bound, or where another process is at it.
        """
        with self._alone("trim") as is_ours:
            left_bytes = _bytes_in(self.folder)
            if not is_ours or left_bytes <= most_bytes:
                return left_bytes
            sweep(self.folder / "scratch")
            left_bytes -= self._remove_orphans()
            for kept in sorted(self._kept(), key=lambda kept: kept.used_at_s):
                if left_bytes <= most_bytes * _TRIM_SHARE:
                    break
                left_bytes -= self._remove(kept)
            return left_bytes

    def _kept(self) -> Iterator[_Kept]:
        for path in (self.folder / "artifacts").glob(f"*{_MANIFEST}"):
            used_at_s = _used_at_s(path)
            if used_at_s is not None:
                yield _Kept(path.name.removesuffix(_MANIFEST), used_at_s)

    def _remove(self, kept: _Kept) -> int:
        """Remove one artifact, unless somebody is loading it or has used it since; the bytes that this has freed."""
        folder = self.folder / "artifacts" / kept.digest
        manifest = folder.parent / f"{kept.digest}{_MANIFEST}"
        with self._alone(kept.digest[:2]) as is_ours:
            if not is_ours or _used_at_s(manifest) != kept.used_at_s:
                return 0
            blobs: list[Path] = []
            with suppress(InvalidDocumentError, CorruptObjectError):
                entries = cached_manifest(folder).files.values()
                blobs = [self.folder / "blobs" / entry.sha256[:2] / entry.sha256 for entry in entries]
            # Copies, where the file system has no links, are bytes of their own.
            freed_bytes = (
                sum(found.st_size for found in _stats(folder) if found.st_nlink == 1) + manifest.stat().st_size
            )
            with scratch_folder(self.folder / "scratch") as work, suppress(FileNotFoundError):
                folder.rename(work / "gone")
            manifest.unlink()
            return freed_bytes + sum(_remove_if_unlinked(blob) for blob in set(blobs))

    def _remove_orphans(self) -> int:
        """Remove contents that no artifact is linked to, left by a process that was killed; the bytes of them."""
        young_s = time.time() - _ORPHAN_AGE_S
        return sum(
            _remove_if_unlinked(path, before_s=young_s) for path in (self.folder / "blobs").rglob("*") if path.is_file()
        )

    @contextmanager
    def _in_use(self, digest: str) -> Iterator[None]:
        """Nobody removes artifacts whose digest begins as this one's."""
        try:
            fd = self._open_lock(digest[:2])
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            yield
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def _alone(self, name: str) -> Iterator[bool]:
        """Whether nobody else holds the lock; it is held then, for the length of the block."""
        fd = self._open_lock(name)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    def _open_lock(self, name: str) -> int:
        locks = self.folder / "locks"
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(locks / name, flags, 0o666)
        except FileNotFoundError:
            locks.mkdir(parents=True, exist_ok=True)
            return os.open(locks / name, flags, 0o666)


def _used_at_s(manifest: Path) -> float | None:
    try:
        return manifest.stat().st_mtime
    except FileNotFoundError:
        return None


def _remove_if_unlinked(blob: Path, *, before_s: float = float("inf")) -> int:
    """Remove contents that no artifact is linked to and that are older than `before_s`; their bytes.

    Whoever links to them between the look and the removal has them; whoever comes too late fetches them again.
    """
    try:
        found = blob.stat()
        if found.st_nlink > 1 or found.st_mtime > before_s:
            return 0
        blob.unlink()
    except FileNotFoundError:
        return 0
    return found.st_size


def _stats(folder: Path) -> Iterator[os.stat_result]:
    """Of every file below; files may go meanwhile."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield Path(parent, name).stat()


def _bytes_in(cache: Path) -> int:
    """Bytes of the cache on disk, contents with several names counted once."""
    found = {
        (one.st_dev, one.st_ino): one.st_size for folder in ("blobs", "artifacts") for one in _stats(cache / folder)
    }
    return sum(found.values())
