"""What is told of requests that fail: a line each, unless there are so many that the log would be nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final

from botshard.logs import fields

__all__ = ["RefusalLog"]

_MOST_PER_S: Final = 20
"""Lines a second; what is over them is told as one number a second. Metrics count every one."""


class RefusalLog:
    """Tells of failed requests. Someone who asks for a bot that is not there may do so ten thousand times a second."""

    def __init__(
        self, log: logging.Logger, /, *, loop: asyncio.AbstractEventLoop, most_per_s: int = _MOST_PER_S
    ) -> None:
        self._log = log
        self._loop = loop
        self._most_per_s = most_per_s
        self._until_s = float("-inf")
        self._told = 0
        self._untold: Counter[int] = Counter()

    def tell(self, level: int, sentence: str, event: Mapping[str, object], *, status: int) -> None:
        """One failed request; `event` is what `fields` made."""
        now_s = self._loop.time()
        if now_s >= self._until_s:
            self._until_s = now_s + 1.0
            self._told = 0
        if self._told < self._most_per_s:
            self._told += 1
            self._log.log(level, sentence, extra=event)
            return
        if not self._untold:
            self._loop.call_at(self._until_s, self._sum_up)
        self._untold[status] += 1

    def _sum_up(self) -> None:
        by_status = " ".join(f"{status}:{count}" for status, count in sorted(self._untold.items()))
        event = fields(requests=self._untold.total(), by_status=by_status)
        self._log.warning("more requests failed than are told one by one", extra=event)
        self._untold.clear()
