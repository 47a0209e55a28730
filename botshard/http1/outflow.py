"""Whether the peer reads what it is sent, and since when it does not."""

from __future__ import annotations

import asyncio
import math
from time import monotonic

__all__ = ["Outflow"]


class Outflow:
    """Of one connection."""

    __slots__ = ("_opened", "blocked_since_s")

    def __init__(self) -> None:
        self._opened: asyncio.Event | None = None
        self.blocked_since_s = math.inf
        """Infinite while the peer reads."""

    @property
    def is_open(self) -> bool:
        """Whether the peer reads."""
        return self._opened is None

    def block(self) -> None:
        """What was sent stays with us."""
        self._opened = asyncio.Event()
        self.blocked_since_s = monotonic()

    def open(self) -> None:
        """The peer reads again, or is gone: whoever waits need not wait."""
        self.blocked_since_s = math.inf
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    async def wait(self) -> None:
        """Until it is open."""
        if self._opened is not None:
            await self._opened.wait()
