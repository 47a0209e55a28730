"""Files that are there whole or not at all, whoever is killed when.

A writer fills a file (or folder) of its own in a scratch folder and renames it into place. It holds a lock on its
scratch while it lives; the kernel drops the lock with the process, so `sweep` knows what a dead one has left
without asking for ages or process ids, which mean nothing across containers that share a volume.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from botshard.store.base import StoreDeniedError, StoreFullError

__all__ = [
    "NO_SPACE",
    "fsync_folder",
    "local_errors",
    "make_folders",
    "scratch_file",
    "scratch_folder",
    "sweep",
    "whole_file",
]

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the operating system says where there is no room, by disk, quota or limit."""


def fsync_folder(path: Path, /) -> None:
    """Make the names in a folder survive a loss of power."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(path: Path, /, *, below: Path) -> None:
    """Make `path` and what is missing between it and `below`, durably; `below` itself must be there."""
    if path == below or path.is_dir():
        return
    make_folders(path.parent, below=below)
    with suppress(FileExistsError):
        path.mkdir()
    fsync_folder(path.parent)


def _lock_own(fd: int) -> bool:
    """Lock a scratch that was just made; False where a sweep came first and is removing it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(fd).st_nlink > 0


@contextmanager
def scratch_file(folder: Path, /) -> Iterator[tuple[int, Path]]:
    """Descriptor and path of a new empty file in `folder`; removed at the end unless it was renamed away."""
    while True:
        path = folder / f"{secrets.token_hex(12)}.part"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if _lock_own(fd):
            break
        os.close(fd)
    try:
        yield fd, path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        os.close(fd)


@contextmanager
def local_errors(path: Path, /) -> Iterator[None]:
    """Turn what the operating system says of a local file or folder, outside any store, into our errors.

    Raises: StoreFullError, StoreDeniedError.
    """
    try:
        yield
    except OSError as error:
        reason = f"cannot write {path}: {error.strerror or error}"
        if error.errno in NO_SPACE:
            raise StoreFullError(f"{reason}; free some space") from error
        raise StoreDeniedError(f"{reason}; check the folder") from error


@contextmanager
def whole_file(path: Path, /) -> Iterator[BinaryIO]:
    """A file to write that takes its place at `path` only when the block ends well.

    It is not synced, which would take longer than all the rest of loading a small bot: a loss of power may leave it
    empty. Whoever keeps such files checks what they hold, as the cache does.

    Raises: StoreFullError, StoreDeniedError for what goes wrong with the file.
    """
    with local_errors(path), scratch_file(path.parent) as (fd, scratch):
        with open(fd, "r+b", closefd=False) as file:
            yield file
        scratch.replace(path)


@contextmanager
def scratch_folder(folder: Path, /) -> Iterator[Path]:
    """A new empty folder in `folder`; removed at the end unless it was renamed away."""
    while True:
        path = folder / f"{secrets.token_hex(12)}.part"
        path.mkdir()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if _lock_own(fd):
            break
        os.close(fd)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def sweep(folder: Path, /) -> int:
    """Remove from a scratch folder what killed writers have left. Returns how many things that was."""
    removed = 0
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return 0
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # renamed into place meanwhile, or not ours to open
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed += 1
        except OSError:  # a writer at work holds the lock, or a read-only store
            continue
        finally:
            os.close(fd)
    return removed
