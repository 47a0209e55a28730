"""Memory of bots that left goes back to the system: what only the garbage collector finds, it is told to look for.

What native code has freed the C library is told to give back.
"""

from __future__ import annotations

import gc
from concurrent.futures import Executor
from typing import Final

from kserve_runtimes.core.malloc import trim

__all__ = ["Reclaim"]

_SHARE: Final = 0.1
"""Of the budget: after so many bytes have left, garbage may be worth as much."""
_DEFAULT_BYTES: Final = 32 << 20
_BOTS: Final = 64
"""After so many bots have left, too: what a graph takes besides its weights is in no footprint."""


class Reclaim:
    """Collects garbage after enough bytes, or bots, have left.

    A Keras model or an exported program is full of references in circles, and the collector's own pace goes by objects,
    not by the megabytes that a few of them hold. Imported modules are frozen, so a look costs milliseconds.
    """

    def __init__(self, executor: Executor, budget_bytes: int | None, /) -> None:
        self._executor = executor
        self._every_bytes = int(budget_bytes * _SHARE) if budget_bytes else _DEFAULT_BYTES
        self._left_bytes = 0
        self._left_bots = 0

    def note(self, left_bytes: int, /) -> None:
        """A bot of so many bytes has left."""
        self._left_bytes += left_bytes
        self._left_bots += 1
        if self._left_bytes >= self._every_bytes or self._left_bots >= _BOTS:
            self._left_bytes = self._left_bots = 0
            self._executor.submit(_collect)


def _collect() -> None:
    gc.collect()
    trim()
