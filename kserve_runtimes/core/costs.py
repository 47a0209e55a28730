"""What a bot has cost this replica so far: a few numbers a bot that was asked, forgotten with the bot.

CPU seconds of a request on a model's thread are its share of what the thread took for the batch, by the time of its own
work; on the event loop, where the request has the thread for itself, they are that time.
"""

from __future__ import annotations

import time
from typing import Final

from botshard.sharding.ids import VersionNumber
from kserve_runtimes.core.times import Times
from kserve_runtimes.core.usual import Usual

__all__ = ["BotCosts"]

_NEWEST: Final = 0.1
"""Weight of the newest request in what they usually take."""


class BotCosts:
    """Sums since a bot was asked first, and how long it usually takes. Lives on the event loop."""

    __slots__ = (
        "cpu_s",
        "post_s",
        "pre_s",
        "predict_s",
        "queue_s",
        "requests",
        "rows",
        "since_s",
        "usual",
        "work_s",
    )

    def __init__(self) -> None:
        self.since_s = int(time.time())
        """Seconds since 1970."""
        self.requests = 0
        """That were begun, whatever came of them."""
        self.rows = 0
        """That a model was given."""
        self.cpu_s = 0.0
        self.queue_s = 0.0
        self.pre_s = 0.0
        self.predict_s = 0.0
        self.post_s = 0.0
        self.work_s = 0.0
        """What a request usually takes without waiting, by those of late; 0: none was begun yet."""
        self.usual: Usual | None = None
        """How long small requests take; None: not known yet."""

    def expect(self, version: VersionNumber, sample_s: float, /) -> Usual:
        """What requests of a version that was not asked yet may take; `sample_s` of its warm-up, 0: there was none."""
        self.work_s = self.work_s or sample_s
        self.usual = usual = Usual.of_sample(version, sample_s)
        return usual

    def note(self, times: Times, rows: int, cpu_s: float, /) -> None:
        """A request that was begun is over; `rows` that a model was given."""
        pre_s, predict_s, post_s = times.pre_s, times.predict_s, times.post_s
        self.requests += 1
        self.rows += rows
        self.cpu_s += cpu_s
        self.queue_s += times.queue_s
        self.pre_s += pre_s
        self.predict_s += predict_s
        self.post_s += post_s
        if self.work_s:
            self.work_s += (pre_s + predict_s + post_s - self.work_s) * _NEWEST
        else:
            self.work_s = pre_s + predict_s + post_s
