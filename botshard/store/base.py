"""What an object store is: the protocol, the values it speaks in, and everything that can go wrong with it.

```
StoreError (WorldError)       never raised itself
├── ObjectNotFoundError       terminal: nothing is stored under the key
├── PreconditionFailedError   transient: somebody else wrote first; read again and decide again
├── StoreUnavailableError     transient: refused, timed out, a server error, the disk is gone
├── StoreFullError            transient: no space left
├── StoreDeniedError          terminal: wrong credentials, missing permission, a request the store refuses
└── CorruptObjectError        terminal: what is stored is not what was stored
```

Keys are narrow on purpose (`check_key`): each is a path below a folder and an S3 object name without any quoting, and
a name that starts with a dot is free for the homes' own files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from botshard.sharding.errors import CallerError, TerminalError, TransientError, WorldError

__all__ = [
    "Blob",
    "CorruptObjectError",
    "Entry",
    "ObjectNotFoundError",
    "ObjectStore",
    "PreconditionFailedError",
    "StoreDeniedError",
    "StoreError",
    "StoreFullError",
    "StoreUnavailableError",
    "check_key",
    "check_prefix",
]

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,199}){0,15}\Z")
_PREFIX = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,199}/){0,15}(?:[A-Za-z0-9][A-Za-z0-9._-]{0,199})?\Z")


class StoreError(WorldError):
    """Anything wrong with the store or with what is in it. Raise one of its children."""


class ObjectNotFoundError(StoreError, TerminalError):
    """Nothing is stored under `key`."""

    def __init__(self, key: str, *, where: str) -> None:
        super().__init__(f"{where}: there is no object {key!r}")
        self.key = key


class PreconditionFailedError(StoreError, TransientError):
    """A conditional write found another object than it was to replace."""


class StoreUnavailableError(StoreError, TransientError):
    """The store cannot be reached or cannot answer now."""


class StoreFullError(StoreError, TransientError):
    """No space left for what was to be written; what was there before is whole."""


class StoreDeniedError(StoreError, TerminalError):
    """The store refuses us: credentials, permissions, or a request that it never accepts."""


class CorruptObjectError(StoreError, TerminalError):
    """What is stored under `key` is damaged: `found` instead of `expected`."""

    def __init__(self, key: str, *, expected: str, found: str) -> None:
        super().__init__(f"object {key!r} is damaged: expected {expected}, found {found}; store it again")
        self.key = key
        self.expected = expected
        self.found = found


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing."""

    key: str
    etag: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Blob:
    """An object as it was at one moment."""

    data: bytes
    etag: str
    """Changes with every change of the object. Compare it for equality only; it means nothing in another store."""


class ObjectStore(Protocol):
    """Objects by key, each replaced whole or not at all.

    Every method may raise StoreUnavailableError and StoreDeniedError; writes may raise StoreFullError. Methods block
    and may be called from any thread; a process that forks opens its stores after the fork.
    """

    @property
    def url(self) -> str:
        """The store's URL without credentials, for logs."""
        ...

    def get(self, key: str, /) -> Blob:
        """The object. Raises: ObjectNotFoundError."""
        ...

    def get_if_changed(self, key: str, /, etag: str | None) -> Blob | None:
        """The object unless it still has this `etag` (then None, cheaply). Raises: ObjectNotFoundError."""
        ...

    def stat(self, key: str, /) -> Entry:
        """The object's etag and size. Raises: ObjectNotFoundError."""
        ...

    def put(self, key: str, data: bytes, /) -> str:
        """Write, whatever is there; durable on return. Returns the etag."""
        ...

    def put_if(self, key: str, data: bytes, /, *, etag: str | None) -> str:
        """Write only over the object that has `etag`; with None, only where there is none. Returns the new etag.

        Raises: PreconditionFailedError.
        """
        ...

    def list(self, prefix: str, /) -> Iterator[Entry]:
        """Objects whose keys start with `prefix`, sorted by key."""
        ...

    def delete(self, key: str, /) -> None:
        """Remove the object; absent is fine."""
        ...

    def download(self, key: str, path: Path, /) -> None:
        """The object into a new or replaced file, whole or not at all, but for a loss of power: it is not synced.

        Raises: ObjectNotFoundError.
        """
        ...

    def upload(self, key: str, path: Path, /) -> str:
        """A file of any size into the object. Returns the etag."""
        ...

    def close(self) -> None:
        """Give back connections; the store is not used afterwards."""
        ...


def check_key(key: str, /) -> str:
    """`key` itself.

    Raises: CallerError unless it is made of 1 to 16 segments of letters, digits, `.`, `_`, `-`, each starting with a
        letter or digit; so it never leaves the store's folder and never needs quoting.
    """
    if not _KEY.match(key):
        raise CallerError(f"not a key of an object store: {key!r}")
    return key


def check_prefix(prefix: str, /) -> str:
    """`prefix` itself.

    Raises: CallerError unless a key can start with it.
    """
    if not _PREFIX.match(prefix):
        raise CallerError(f"not the start of a key of an object store: {prefix!r}")
    return prefix
