"""The last requests that failed, for people who ask why: bounded, in memory, of this process alone."""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import Final, NamedTuple

__all__ = ["ErrorsSeen", "SeenError"]

_KEPT: Final = 512
_MOST_CHARS: Final = 300


class SeenError(NamedTuple):
    """One request that failed."""

    at_s: float
    """Seconds since 1970."""
    bot: str
    pool: str
    """That was tried last; empty: none was."""
    status: int
    """That the client got; 0: none."""
    cause: str
    text: str
    request_id: str

    def document(self) -> dict[str, object]:
        """For people and programs."""
        return {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at_s)),
            "pool": self.pool or None,
            "status": self.status or None,
            "cause": self.cause,
            "text": self.text[:_MOST_CHARS],
            "requestId": self.request_id or None,
        }


class ErrorsSeen:
    """See the module."""

    def __init__(self) -> None:
        self._last: deque[SeenError] = deque(maxlen=_KEPT)

    def note(self, bot: str, pool: str, status: int, cause: str, /, *, text: str = "", request_id: str = "") -> None:
        """One more."""
        self._last.append(SeenError(time.time(), bot, pool, status, cause, text, request_id))

    def of_bot(self, bot: str, /, *, most: int = 10) -> list[SeenError]:
        """A bot's, newest first."""
        return list(islice((error for error in reversed(self._last) if error.bot == bot), most))

    def of_pool(self, pool: str, /, *, most: int = 3) -> list[SeenError]:
        """A pool's, whatever bot was asked, newest first."""
        return list(islice((error for error in reversed(self._last) if error.pool == pool), most))
