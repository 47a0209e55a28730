"""A folder as an object store: `file:///absolute/path`.

An object is a file, replaced by renaming a finished one over it, so a reader sees the old or the new one whole. Writes
are synced, file and folder, before they are reported. A writer holds a lock (`flock`) for its key; that makes the
conditional write atomic between processes, and the kernel frees it when a process dies.

The etag is modification time, size and inode. Under the lock each write gets a modification time later than any
that its lock has seen, deletions included, so that an etag never comes back for a key, whatever the clock does.
A poll that finds nothing new is one `stat`.

Besides the objects the folder holds `.locks` (its presence also tells a store from the empty folder that an unmounted
disk leaves behind) and `.scratch`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from botshard.sharding.errors import CallerError
from botshard.store.atomic import NO_SPACE, fsync_folder, make_folders, scratch_file, sweep, whole_file
from botshard.store.base import (
    Blob,
    Entry,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    check_key,
    check_prefix,
)

__all__ = ["FileStore"]

_LOCKS = ".locks"
_SCRATCH = ".scratch"
_LOCK_STRIPES = 64  # writers of different keys rarely meet, and the folder stays small
_LOCK_TIMEOUT_S = 10.0
_LOCK_POLL_S = 0.002
_COPY_BYTES = 1 << 20
_RENAME_ATTEMPTS = 5  # a deletion may remove the empty folder between making it and renaming into it
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_FOLDER = frozenset({errno.EEXIST, errno.ENOTDIR})
_NO_OBJECT = frozenset({errno.EISDIR, errno.ENOTDIR, errno.ELOOP})


class FileStore:
    """An `ObjectStore` in a folder."""

    def __init__(self, root: Path, /, *, make: bool = True) -> None:
        """Open the store in `root`, an absolute path. If it is absent, `make` it; else it is away until it is there.

        Raises: StoreDeniedError, StoreUnavailableError.
        """
        if not root.is_absolute():
            raise CallerError(f"the folder of a store must be an absolute path: {root}")
        self._root = root
        self._prefix = f"{root}/"
        self._scratch = root / _SCRATCH
        with self._told("open"):
            if make and not ((root / _LOCKS).is_dir() and self._scratch.is_dir()):
                root.mkdir(parents=True, exist_ok=True)
                (root / _LOCKS).mkdir(exist_ok=True)
                self._scratch.mkdir(exist_ok=True)
                fsync_folder(root)
            sweep(self._scratch)

    def __repr__(self) -> str:
        return f"FileStore({self.url})"

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"file://{self._root}"

    def get(self, key: str, /) -> Blob:
        """See `ObjectStore`."""
        path = self._path(key)
        with self._told("read", key):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
                return Blob(file.read(), _etag(os.fstat(fd)))

    def get_if_changed(self, key: str, /, etag: str | None) -> Blob | None:
        """See `ObjectStore`. One `stat` where nothing changed."""
        if etag is not None:
            path = self._path(key)
            try:
                if _etag(os.stat(path)) == etag:  # noqa: PTH116 - a Path would cost more than the call
                    return None
            except OSError as error:
                raise self._translated(error, "read", key) from error
        return self.get(key)

    def stat(self, key: str, /) -> Entry:
        """See `ObjectStore`."""
        with self._told("look up", key):
            status = os.stat(self._path(key))  # noqa: PTH116 - as above
        if not S_ISREG(status.st_mode):
            raise ObjectNotFoundError(key, where=self.url)
        return Entry(key, _etag(status), status.st_size)

    def put(self, key: str, data: bytes, /) -> str:
        """See `ObjectStore`."""
        path = self._path(key)
        with self._told("write", key), self._locked(key) as lock, scratch_file(self._scratch) as (fd, scratch):
            _write(fd, data)
            return self._place(lock, fd, scratch, path)

    def put_if(self, key: str, data: bytes, /, *, etag: str | None) -> str:
        """See `ObjectStore`."""
        path = self._path(key)
        with self._told("write", key), self._locked(key) as lock:
            present = _etag_at(path)
            if present != etag:
                was, found = (f"etag {value}" if value else "no object" for value in (etag, present))
                raise PreconditionFailedError(f"{self.url}: {key!r} was to replace {was}, found {found}; read it again")
            with scratch_file(self._scratch) as (fd, scratch):
                _write(fd, data)
                return self._place(lock, fd, scratch, path)

    def list(self, prefix: str, /) -> Iterator[Entry]:
        """See `ObjectStore`."""
        folder, _, _ = check_prefix(prefix).rpartition("/")
        with self._told("list", prefix):
            if not (self._root / _LOCKS).is_dir():
                raise self._gone()
            yield from self._walk(f"{folder}/" if folder else "", prefix)

    def delete(self, key: str, /) -> None:
        """See `ObjectStore`."""
        path = Path(self._path(key))
        with self._told("delete", key), self._locked(key) as lock:
            try:
                status = path.stat()
                path.unlink()
            except FileNotFoundError:
                return
            _advance(lock, status.st_mtime_ns)
            fsync_folder(path.parent)
            with suppress(OSError):  # others still have objects there
                while path.parent != self._root:
                    path = path.parent
                    path.rmdir()

    def download(self, key: str, path: Path, /) -> None:
        """See `ObjectStore`."""
        with self._told("read", key):
            source = open(self._path(key), "rb")  # noqa: PTH123, SIM115 - closed below; its errors differ from the target's
        with source, whole_file(path) as target:
            shutil.copyfileobj(source, target, _COPY_BYTES)

    def upload(self, key: str, path: Path, /) -> str:
        """See `ObjectStore`."""
        with path.open("rb") as source, self._told("write", key), scratch_file(self._scratch) as (fd, scratch):
            with open(fd, "wb", closefd=False) as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            os.fsync(fd)  # the bulk of it before the lock is held
            with self._locked(key) as lock:
                return self._place(lock, fd, scratch, self._path(key))

    def close(self) -> None:
        """See `ObjectStore`. Nothing is held."""

    def _path(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _place(self, lock: int, fd: int, scratch: Path, path: str) -> str:
        """Stamp, sync and rename a finished scratch file over the object; the lock of its key is held."""
        present = _status_at(path)
        stamp_ns = _advance(lock, present.st_mtime_ns if present else 0)
        os.utime(fd, ns=(stamp_ns, stamp_ns))
        status = os.fstat(fd)
        if status.st_mtime_ns != stamp_ns:
            raise StoreDeniedError(
                f"{self.url}: the file system rounds file times, so changes could go unseen; "
                "put the store on one that keeps nanoseconds (ext4, xfs, btrfs, tmpfs)"
            )
        os.fsync(fd)
        target = Path(path)
        for attempt in range(_RENAME_ATTEMPTS):
            make_folders(target.parent, below=self._root)
            try:
                scratch.rename(target)
                break
            except FileNotFoundError:
                if attempt == _RENAME_ATTEMPTS - 1:
                    raise
        fsync_folder(target.parent)
        return _etag(status)

    @contextmanager
    def _locked(self, key: str) -> Iterator[int]:
        """Hold the lock for a key; yields its descriptor."""
        stripe = zlib.crc32(key.encode()) % _LOCK_STRIPES
        fd = os.open(self._root / _LOCKS / f"{stripe:02d}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            deadline_s = time.monotonic() + _LOCK_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline_s:
                        message = f"{self.url}: another writer has held the lock for {key!r} over {_LOCK_TIMEOUT_S:g} s"
                        raise StoreUnavailableError(message) from None
                    time.sleep(_LOCK_POLL_S * random.random())  # noqa: S311 - spreads waiters, hides nothing
            yield fd
        finally:
            os.close(fd)

    def _walk(self, folder: str, prefix: str) -> Iterator[Entry]:
        """Objects below `folder` (empty or ending in a slash) in the order of their whole keys."""
        try:
            with os.scandir(self._prefix + folder) as scan:
                found = [entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in scan]
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in sorted(found):
            key = folder + name
            if name.startswith("."):
                continue
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix):
                with suppress(FileNotFoundError):  # deleted or replaced since the scan
                    status = os.stat(self._prefix + key)  # noqa: PTH116 - a Path would cost more than the call
                    yield Entry(key, _etag(status), status.st_size)

    @contextmanager
    def _told(self, action: str, key: str = "") -> Iterator[None]:
        """Turn the operating system's errors into ours."""
        try:
            yield
        except OSError as error:
            raise self._translated(error, action, key) from error

    def _translated(self, error: OSError, action: str, key: str) -> StoreError:
        what = f"{self.url}: cannot {action} {f'{key!r}' if key else 'the store'}: {error.strerror or error}"
        absent = error.errno in {errno.ENOENT, errno.ENOTDIR}
        if error.errno in NO_SPACE:
            return StoreFullError(f"{what}; free some space", retry_after_s=5.0)
        if error.errno in _DENIED or (action == "open" and error.errno in _NO_FOLDER):
            return StoreDeniedError(f"{what}; check path, owner and mode of the folder")
        if absent and not (self._root / _LOCKS).is_dir():
            return self._gone()
        if error.errno in _NO_OBJECT:
            return StoreDeniedError(f"{what}; a key is either an object or the start of others, not both")
        if absent and action != "write":
            return ObjectNotFoundError(key, where=self.url)
        return StoreUnavailableError(what, retry_after_s=1.0)

    def _gone(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self.url}: the folder is gone or is not a store; mount the disk or put it back", retry_after_s=1.0
        )


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def _status_at(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None


def _etag_at(path: str) -> str | None:
    status = _status_at(path)
    return None if status is None else _etag(status)


def _advance(lock: int, seen_ns: int) -> int:
    """A time later than `seen_ns` and than any that this lock has given; the lock's own file remembers it."""
    stamp_ns = max(time.time_ns(), seen_ns + 1, os.fstat(lock).st_mtime_ns + 1)
    os.utime(lock, ns=(stamp_ns, stamp_ns))
    return stamp_ns


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
