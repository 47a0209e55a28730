"""A bounded memory of encodings, shared by all bots on one encoder: what was said before need not be encoded again."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from threading import Lock
from typing import Final

from botshard.oip.tensors import Array

__all__ = ["Encodings", "digest_of"]

_ENTRY_BYTES: Final = 300
"""Of an entry besides its numbers: digest, array, place in the order."""
_DIGEST_BYTES: Final = 16


def digest_of(tokens: bytes, /) -> bytes:
    """What an encoding is found by: texts with equal tokens have equal encodings."""
    return blake2b(tokens, digest_size=_DIGEST_BYTES).digest()


class Encodings:
    """The encodings that were used last, up to a number of bytes. Used by several threads."""

    def __init__(self, most_bytes: int, /) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[bytes, Array] = OrderedDict()
        self._lock = Lock()
        self.bytes = 0
        """Of all that are held."""

    def get(self, digest: bytes, /) -> Array | None:
        """The encoding of one text, if it is held."""
        with self._lock:
            found = self._held.get(digest)
            if found is not None:
                self._held.move_to_end(digest)
            return found

    def put(self, digest: bytes, encoding: Array, /) -> None:
        """Hold an encoding; those that were used longest ago go."""
        size_bytes = encoding.nbytes + _ENTRY_BYTES
        with self._lock:
            if digest in self._held or size_bytes > self._most_bytes:
                return
            self._held[digest] = encoding.copy()  # not a view that keeps a whole batch alive
            self.bytes += size_bytes
            while self.bytes > self._most_bytes:
                _, left = self._held.popitem(last=False)
                self.bytes -= left.nbytes + _ENTRY_BYTES
