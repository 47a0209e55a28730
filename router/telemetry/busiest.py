"""Which bots are asked most, and which fail most: estimates at next to no cost, in memory that has a bound.

Requests are sampled: on average each `EVERY`th is looked at and counts for so many. The distance to the next one is
drawn anew each time, since traffic has rhythms too. So a request costs one subtraction, and an estimate of `n` requests
is right within about `sqrt(EVERY * n)`, one standard deviation: 4 % at ten thousand, 0.4 % at a million. Failures, of
which there should be few, are counted each.

A bot's counter begins at 0 with its label, and what is counted for it meanwhile is counted nowhere else: no counter
goes back, and rates add up to the rate of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

from botshard.busiest import OTHER, BusiestLabels

__all__ = ["EVERY", "BusiestBots"]

EVERY: Final = 16
"""Requests for one that is looked at, on average."""
_NEVER: Final = 1 << 62
_MOST_KNOWN: Final = 512
"""Bots without a label whose recent counts are kept; the least busy half leaves when there are more."""
_SETTLE_S: Final = 5.0
"""Time between two looks at who is busiest."""
_FORGOTTEN: Final = 0.5
"""Share of the recent counts that is kept at such a look."""


class _Counted:
    """One kind of count: who has a label for it, and how busy bots have been lately."""

    __slots__ = ("_labels", "_settles_at_s", "labelled", "other", "recent")

    def __init__(self, most: int) -> None:
        self._labels = BusiestLabels(most)
        self._settles_at_s = 0.0
        self.labelled: dict[str, int] = {}
        """Counts of those with a label since they have it."""
        self.other = 0
        self.recent: dict[str, float] = {}

    def add(self, bot_id: str, count: int) -> None:
        labelled, recent = self.labelled, self.recent
        if bot_id in labelled:
            labelled[bot_id] += count
        else:
            self.other += count
        recent[bot_id] = recent.get(bot_id, 0.0) + count
        if len(recent) > _MOST_KNOWN:
            by_count = sorted(recent, key=recent.__getitem__)
            for bot in by_count[: _MOST_KNOWN // 2]:
                del recent[bot]

    def settle(self, now_s: float) -> None:
        """Let the busiest of late have the labels."""
        if now_s < self._settles_at_s:
            return
        self._settles_at_s = now_s + _SETTLE_S
        gone, come = self._labels.settle(self.recent, now_s)
        for bot in gone:
            del self.labelled[bot]
        self.labelled.update(dict.fromkeys(come, 0))
        self.recent = {bot: count * _FORGOTTEN for bot, count in self.recent.items() if count > _FORGOTTEN}


class BusiestBots:
    """See the module. Lives on the event loop; whoever ends a request takes one off `left`, at 0 it calls `sample`."""

    __slots__ = ("_draw", "_failures", "_now_s", "_requests", "left", "most")

    def __init__(self, most: int, *, now_s: Callable[[], float], random: Random | None = None) -> None:
        """`most` bots have a label; 0: none, and nothing is counted."""
        self.most = most
        self._now_s = now_s
        self._draw = (random or Random()).randrange  # noqa: S311 - which request is looked at is no secret
        self._requests = _Counted(most)
        self._failures = _Counted(most)
        self.left = 0
        """Requests until the next one that is looked at."""
        self._next()

    def _next(self) -> None:
        self.left = self._draw(1, 2 * EVERY) if self.most else _NEVER

    def sample(self, bot_id: str, /) -> None:
        """This request is looked at."""
        self._next()
        if self.most:
            self._requests.add(bot_id, EVERY)
            self._requests.settle(self._now_s())

    def failed(self, bot_id: str, /) -> None:
        """A request to a bot that there is ended in an error, be it the pool's."""
        if self.most:
            self._failures.add(bot_id, 1)
            self._failures.settle(self._now_s())

    def families(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        for name, text, counted in (
            ("botshard_router_bot_requests", "Requests of the busiest bots, estimated", self._requests),
            ("botshard_router_bot_errors", "Failed requests of the bots that fail most", self._failures),
        ):
            family = CounterMetricFamily(name, text, labels=("bot",))
            for bot, count in list(counted.labelled.items()):
                family.add_metric([bot], count)
            family.add_metric([OTHER], counted.other)
            yield family
