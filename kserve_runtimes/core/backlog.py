"""Loads that nobody waits for yet: most used first, a few at a time.

A load that a request waits for does not queue here: it goes to the loaders' threads at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from botshard.sharding.ids import BotId

__all__ = ["LoadBacklog"]


class LoadBacklog:
    """Keeps up to `loaders` loads under way while there is something to load. Lives on the event loop."""

    def __init__(
        self, start: Callable[[BotId], asyncio.Task[None] | None], *, loaders: int, on_idle: Callable[[], None]
    ) -> None:
        self._start = start
        self._on_idle = on_idle
        self._loaders = loaders
        self._waiting: dict[BotId, None] = {}
        self._running: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._waiting and not self._running

    def order(self, bots: Iterable[BotId], /, *, key: Callable[[BotId], float]) -> None:
        """Replace what waits by `bots`, smallest key first."""
        self._waiting = dict.fromkeys(sorted(bots, key=key))
        self._pump()

    def add(self, bot_id: BotId, /) -> None:
        """One more, at the end."""
        self._waiting[bot_id] = None
        self._pump()

    def _pump(self) -> None:
        while self._waiting and len(self._running) < self._loaders:
            bot_id = next(iter(self._waiting))
            del self._waiting[bot_id]
            task = self._start(bot_id)
            if task is not None:
                self._running.add(task)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._pump()
        if self.is_idle:
            self._on_idle()
