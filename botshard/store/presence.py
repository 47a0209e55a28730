"""Which objects of fixed content (manifests and blobs) a store has already, so that they are not sent again."""

from __future__ import annotations

from typing import Self

from botshard.store.base import ObjectNotFoundError, ObjectStore
from botshard.store.layout import ARTIFACTS_PREFIX, BLOBS_PREFIX

__all__ = ["Presence"]

_LISTED_A_QUESTION = 4
"""A listing tells a thousand objects for the price of three questions; a store with far more than are asked for is
not listed to its end."""


class Presence:
    """Asked from any number of threads. What it has listed stays true: nothing deletes such objects."""

    def __init__(self, store: ObjectStore, /) -> None:
        """Ask the store about each object."""
        self._store = store
        self._sizes: dict[str, int] | None = None

    @classmethod
    def listed(cls, store: ObjectStore, /, *, questions: int) -> Self:
        """List the store once, since about so many questions will be asked of it.

        Raises: StoreError.
        """
        presence = cls(store)
        sizes: dict[str, int] = {}
        for prefix in (ARTIFACTS_PREFIX, BLOBS_PREFIX):
            for entry in store.list(prefix):
                sizes[entry.key] = entry.size_bytes
                if len(sizes) > _LISTED_A_QUESTION * questions:
                    return presence
        presence._sizes = sizes
        return presence

    def has(self, key: str, *, size_bytes: int) -> bool:
        """Whether the object is there with the size that its digest implies; a truncated one is to be written again.

        Raises: StoreError.
        """
        if self._sizes is not None:
            return self._sizes.get(key) == size_bytes
        try:
            return self._store.stat(key).size_bytes == size_bytes
        except ObjectNotFoundError:
            return False

    def note(self, key: str, *, size_bytes: int) -> None:
        """It has been stored."""
        if self._sizes is not None:
            self._sizes[key] = size_bytes
