"""Tells whoever started this replica how busy it is: only changes, and not more often than it can be acted upon."""

from __future__ import annotations

import asyncio
from typing import Final

from botshard.notify import Notifier

__all__ = ["LoadNotices"]

_INTERVAL_S: Final = 0.25
"""Scaling decides twice a second; a notice a request would cost more than the request."""


class LoadNotices:
    """Requests in flight and taken so far, as notices. Lives on the event loop."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._told: tuple[int, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_at_s = 0.0
        self.in_flight = 0
        self.requests = 0

    def begin(self) -> None:
        """A request came."""
        self.in_flight += 1
        self.requests += 1
        if self._timer is None:
            self._schedule()

    def end(self) -> None:
        """A request was answered."""
        self.in_flight -= 1
        if self._timer is None:
            self._schedule()

    def tell_again(self) -> None:
        """What was told last, for a receiver that may be another one by now."""
        self._notifier.load(in_flight=self.in_flight, requests=self.requests)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(max(self._next_at_s, loop.time()), self._tell)

    def _tell(self) -> None:
        self._timer = None
        now = (self.in_flight, self.requests)
        if now != self._told:
            self._told = now
            self._notifier.load(in_flight=self.in_flight, requests=self.requests)
            self._next_at_s = asyncio.get_running_loop().time() + _INTERVAL_S
