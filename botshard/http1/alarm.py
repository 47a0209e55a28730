"""One timer for everything that a connection waits for: moving an instant into the future costs nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic
from typing import Final

__all__ = ["Alarm"]

_TICK_S: Final = 0.001


class Alarm:
    """Rings at the earliest instant that it was armed for, asks what is due, and arms itself for what comes next."""

    __slots__ = ("_act", "_due", "_is_stopped", "_loop", "_timer", "armed_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, due: Callable[[], float], act: Callable[[], None]) -> None:
        """`due` gives the next monotonic instant at which something ends, `act` ends what is due."""
        self._loop = loop
        self._due = due
        self._act = act
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self.armed_s = math.inf
        """When it rings."""

    @property
    def is_set(self) -> bool:
        """Whether a timer is under way."""
        return self._timer is not None

    def arm(self, due_s: float, /) -> None:
        """Ring at `due_s`; where it rings earlier anyway, it finds out then how much is left."""
        if due_s >= self.armed_s or self._is_stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.armed_s = due_s
        self._timer = self._loop.call_later(max(due_s - monotonic(), 0.0), self._ring)

    def stop(self) -> None:
        """Never ring again."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self.armed_s = math.inf
        if self._due() <= monotonic():
            self._act()
        self.arm(max(self._due(), monotonic() + _TICK_S))
