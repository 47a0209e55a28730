"""Until when a connection waits for what: the instants at which something of it ends."""

from __future__ import annotations

import math
from time import monotonic

from botshard.http1.limits import Limits
from botshard.http1.reader import RequestReader
from botshard.http1.turns import Turns

__all__ = ["Patience"]


class Patience:
    """Of one connection; instants are of `time.monotonic`, infinite where nothing is waited for."""

    __slots__ = ("_limits", "cut_at_s", "ends_at_s", "gone_at_s", "idle_until_s")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.gone_at_s = math.inf
        """When a peer that sends nothing any more and has got nothing for as long counts as gone."""
        self.ends_at_s = math.inf
        """When patience with a connection that is being closed ends."""
        self.cut_at_s = math.inf
        """The same where bytes still come, or are still read."""
        self.idle_until_s = 0.0

    def idle(self, for_s: float, /) -> float:
        """No request is under way; when the connection ends unless one comes."""
        self.idle_until_s = monotonic() + for_s
        return self.idle_until_s

    def half_closed(self) -> float:
        """The peer has closed its side, or gets an answer after that; when it counts as gone."""
        self.gone_at_s = monotonic() + self._limits.half_closed_s
        return self.gone_at_s

    def closing(self) -> float:
        """All was written; when the connection ends whether that was read or not."""
        self.ends_at_s = monotonic() + self._limits.write_timeout_s
        return self.ends_at_s

    def lingering(self) -> float:
        """The last answer was written, and the peer may still send; when the connection ends."""
        self.cut_at_s = monotonic() + self._limits.write_timeout_s
        return self.more_came()

    def more_came(self) -> float:
        """The peer still sends, or reads, though nothing is wanted from it."""
        self.ends_at_s = min(monotonic() + self._limits.linger_s, self.cut_at_s)
        return self.ends_at_s

    def due(self, reader: RequestReader, queue: Turns, /, *, reads_paused: bool) -> float:
        """When something ends of a connection that is not being closed, but for what its peer must read."""
        limits = self._limits
        due_s = reader.head_since_s + limits.head_timeout_s
        if not reads_paused:
            due_s = min(due_s, reader.body_since_s + limits.body_timeout_s)
        if queue:
            return min(due_s, self.gone_at_s, *(exchange.deadline_s for exchange in queue))
        return min(due_s, self.idle_until_s) if reader.is_between else due_s
