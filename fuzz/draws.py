"""Bytes as decisions: what a fuzzer's input says is to be done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Draws"]

_T = TypeVar("_T")


class Draws:
    """Reads an input from its front; at its end everything is nought."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """0 to 255."""
        taken = self.take(1)
        return taken[0] if taken else 0

    def number(self) -> int:
        """0 to 65,535."""
        return self.byte() << 8 | self.byte()

    def one_of(self, choices: Sequence[_T]) -> _T:
        """One of them; the first is the likeliest at the end of an input."""
        return choices[self.byte() % len(choices)]

    def sometimes(self, in_so_many: int = 8) -> bool:
        """Seldom true."""
        return self.byte() % in_so_many == in_so_many - 1

    def take(self, count: int) -> bytes:
        """So many bytes, or what is left."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))
