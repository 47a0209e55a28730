"""How many replicas a local pool should have: pure functions over what its replicas said last.

Up at once, down slowly: a replica too many for half a minute costs some megabytes, one too few costs latency. To zero
only where the group allows it, after its idle time without a request. On a cluster Knative decides this; the words
(concurrency target, floor, ceiling, idle time) are the same there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil

from botshard.sharding.groups import PoolGroupSpec

__all__ = ["QUICK_DEATH_S", "PoolActivity", "restart_delay_s", "wanted_replicas"]

SCALE_DOWN_WINDOW_S = 30.0
"""The busiest moment of so long ago still counts: half of Knative's stable window, since starting is cheap here."""
_MAX_RESTART_DELAY_S = 5.0
_MOST_DOUBLINGS = 10
QUICK_DEATH_S = 10.0
"""A process that ends sooner than this counts as one that does not come up."""


@dataclass(slots=True)
class PoolActivity:
    """What is known of a pool's traffic. Times are of one monotonic clock."""

    last_request_at_s: float
    """When a request was last seen, or the pool was last woken."""
    in_flight: int = 0
    """Requests in flight over all replicas, as last said."""
    _past: deque[tuple[float, int]] = field(default_factory=deque)
    """Until when so many were in flight; times ascend, numbers descend: of what was as much later there is no need."""

    def note(self, now_s: float, *, in_flight: int, busy: bool) -> None:
        """Replicas said how many requests are in flight; `busy`: there are some, or there were since the last time."""
        while self._past and self._past[-1][1] <= self.in_flight:
            self._past.pop()
        self._past.append((now_s, self.in_flight))
        self.in_flight = in_flight
        if busy:
            self.last_request_at_s = now_s

    def peak(self, now_s: float) -> int:
        """The most requests in flight within the window that ends now."""
        while self._past and self._past[0][0] <= now_s - SCALE_DOWN_WINDOW_S:
            self._past.popleft()
        return max(self.in_flight, self._past[0][1] if self._past else 0)


def wanted_replicas(group: PoolGroupSpec, activity: PoolActivity, *, now_s: float) -> int:
    """Replicas that the pool should have now, between the group's floor and ceiling."""
    floor = group.min_replicas
    if not group.realtime and floor == 0:
        idle = activity.in_flight == 0 and now_s - activity.last_request_at_s >= group.idle_after_s
        floor = 0 if idle else 1
        if idle:
            return 0
    return min(group.max_replicas, max(floor, ceil(activity.peak(now_s) / group.concurrency)))


def restart_delay_s(failures: int, lived_s: float) -> float:
    """How long to wait before a process that ended by itself is started again.

    `failures`: how often in a row it has ended within a few seconds. The first time there is nothing to wait for.
    """
    if failures <= 1 or lived_s >= QUICK_DEATH_S:
        return 0.0
    return float(min(_MAX_RESTART_DELAY_S, 0.1 * 2 ** min(failures - 1, _MOST_DOUBLINGS)))
