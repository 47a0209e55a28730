"""The few bots that are asked most have a label of their own in the metrics; all others are `other`.

What each bot has cost is known exactly (`costs.py`), so who is on top is too, and a request costs nothing here. A bot's
counters begin at 0 when it gets its label: what came before stays in `other`. When it loses the label its series ends,
and what it had counted is not added to `other`, where it would look like new requests. So no counter ever goes back,
every request is counted in one series, and rates add up to those of all; raw values add up to less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from botshard.busiest import OTHER, BusiestLabels
from botshard.sharding.ids import BotId
from kserve_runtimes.core.costs import BotCosts
from kserve_runtimes.core.tallies import SumTally

__all__ = ["TopBots"]


class _Labelled(NamedTuple):
    costs: BotCosts
    requests: int
    """Of `costs` when it got its label."""
    cpu_s: float


class TopBots(Collector):
    """Counters of the busiest bots."""

    def __init__(self, most: int, *, runs: SumTally, cpu_seconds: SumTally, registry: CollectorRegistry) -> None:
        """`most` bots have a label; `runs` and `cpu_seconds` are the sums over all."""
        self._labels = BusiestLabels(most)
        self._runs, self._cpu_seconds = runs, cpu_seconds
        self._labelled: dict[BotId, _Labelled] = {}
        self._past_requests, self._past_cpu_s = 0, 0.0
        """Of bots that had a label, while they had it."""
        self._other_s = 0.0
        if most:
            registry.register(self)

    def rank(self, rates: Mapping[BotId, float], costs: Mapping[BotId, BotCosts], /) -> None:
        """Let the busiest have labels: free ones at once, others' once a minute.

        Args:
            rates: how often each bot is asked, lately.
            costs: of every bot that was asked.
        """
        if not self._labels.most:
            return
        for bot, labelled in list(self._labelled.items()):
            # One that went to another pool and came back is counted anew.
            if bot in costs and costs[bot] is not labelled.costs:
                self._labels.drop(bot)
                self._take(bot)
        busy: dict[str, float] = {bot: rate for bot, rate in rates.items() if bot in costs}
        gone, come = self._labels.settle(busy, monotonic())
        for name in gone:
            self._take(BotId(name))
        for name in come:
            cost = costs[BotId(name)]
            self._labelled[BotId(name)] = _Labelled(cost, cost.requests, cost.cpu_s)

    def _take(self, bot: BotId) -> None:
        labelled = self._labelled.pop(bot)
        self._past_requests += labelled.costs.requests - labelled.requests
        self._past_cpu_s += labelled.costs.cpu_s - labelled.cpu_s

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What Prometheus reads."""
        requests = CounterMetricFamily("botshard_bot_requests", "Requests of the busiest bots", labels=["bot"])
        seconds = CounterMetricFamily("botshard_bot_seconds", "CPU time of the busiest bots", labels=["bot"])
        other = self._runs.total - self._past_requests
        other_s = self._cpu_seconds.total - self._past_cpu_s
        for bot, labelled in self._labelled.items():
            counted, counted_s = labelled.costs.requests - labelled.requests, labelled.costs.cpu_s - labelled.cpu_s
            requests.add_metric([bot], counted)
            seconds.add_metric([bot], counted_s)
            other -= counted
            other_s -= counted_s
        requests.add_metric([OTHER], other)
        self._other_s = max(self._other_s, other_s)  # a rounded difference may be smaller than the last, a counter not
        seconds.add_metric([OTHER], self._other_s)
        yield requests
        yield seconds
