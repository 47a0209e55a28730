"""One document of the store that people change and processes follow: changed by compare-and-swap, followed by polls.

What an operator's documents have in common is here; what is in them is said where they are (`access_keys`,
`access_limits`, `intents`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.store.base import ObjectNotFoundError, ObjectStore, PreconditionFailedError

__all__ = ["DocumentFollower", "change_document", "checked", "read_document"]

T = TypeVar("T")

_MOST_TRIES = 20


def read_document(store: ObjectStore, key: str, decode: Callable[[bytes], T], /) -> tuple[T, str] | None:
    """The document and its etag; None where there is none yet.

    Raises: InvalidDocumentError, StoreError.
    """
    try:
        blob = store.get(key)
    except ObjectNotFoundError:
        return None
    return decode(blob.data), blob.etag


def change_document(
    store: ObjectStore,
    key: str,
    edit: Callable[[T], T],
    /,
    *,
    decode: Callable[[bytes], T],
    encode: Callable[[T], bytes],
    empty: T,
) -> T:
    """Apply `edit` to what is there (`empty` at first), whoever else changes it meanwhile; what it is then.

    Nothing is written where `edit` changes nothing.

    Raises: InvalidDocumentError, StoreError; PreconditionFailedError after many tries; whatever `edit` raises.
    """
    for tries_left in reversed(range(_MOST_TRIES)):
        before, etag = read_document(store, key, decode) or (empty, None)
        after = edit(before)
        if after == before:
            return before
        try:
            store.put_if(key, encode(after), etag=etag)
        except PreconditionFailedError:
            if not tries_left:
                raise
        else:
            return after
    raise AssertionError  # the last try returns or raises


def checked(key: str, encode: Callable[[T], bytes], decode: Callable[[bytes], T], /) -> Callable[[T], bytes]:
    """`encode` for `change_document`, which then writes nothing that would be refused, or read as something else."""

    def encode_checked(value: T) -> bytes:
        data = encode(value)
        if decode(data) != value:
            raise InvalidDocumentError(key, [Problem("", "something else", "what was to be written")])
        return data

    return encode_checked


class DocumentFollower(Generic[T]):
    """Holds the newest acceptable document. Its method blocks; one caller at a time."""

    def __init__(self, store: ObjectStore, key: str, /, *, decode: Callable[[bytes], T]) -> None:
        self._store = store
        self._decode = decode
        self._etag: str | None = None
        self.key = key
        self.value: T | None = None
        """In force; None until one was acceptable."""
        self.is_looked_for = False
        """Whether the store was asked: only then is it known that there is no document, where there is none."""
        self.problem: str | None = None
        """Why what the store holds now was refused; None where it is in force."""

    def refresh(self) -> bool:
        """Whether another document is in force than before. One poll where nothing has changed.

        Raises: StoreError; the document in force stays.
        """
        try:
            blob = self._store.get_if_changed(self.key, self._etag)
        except ObjectNotFoundError:
            self._etag = None
            self.problem = None if self.value is None else f"{self.key} is gone; what was read last stays in force"
            self.is_looked_for = True
            return False
        self.is_looked_for = True
        if blob is None:
            return False
        self._etag = blob.etag
        before = self.value
        try:
            self.value = self._decode(blob.data)
        except InvalidDocumentError as error:
            self.problem = str(error)
            return False
        self.problem = None
        return self.value != before
