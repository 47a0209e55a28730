"""What one tenant or one bot may still ask for: tokens that fill up with time, and requests in flight. Pure.

The bucket is kept as one instant, the one at which it is full again (the generic cell rate algorithm): nothing ticks,
and a bucket that is full and has nothing in flight is as good as a new one, so it can be forgotten at no loss.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from math import inf
from typing import Final

from botshard.store.access_limits import Limit

__all__ = ["Bucket", "Buckets"]

_SLACK_S: Final = 1e-6
"""Sums of many floats: who waits exactly as long as was said must not be refused for the last bit."""
_SMOOTHING: Final = 0.2
_LOOKED_AT: Final = 8
"""Buckets that are looked at for one to forget."""
_FORGOTTEN_AT_ONCE: Final = 2
"""For each that is new, at most: more than one, so that what many requests in flight have left is caught up with."""


class Bucket:
    """Of one tenant or bot, at one router among `shares` that grant the same limit."""

    __slots__ = ("_concurrency", "_full_at_s", "_interval_s", "_tolerance_s", "held_s", "in_flight", "limit")

    def __init__(self, limit: Limit, *, shares: int = 1) -> None:
        self._full_at_s = -inf
        self.in_flight = 0
        self.held_s = 0.0
        """How long requests have been in flight lately, on the mean."""
        self.limit = limit
        self.follow(limit, shares=shares)

    def follow(self, limit: Limit, *, shares: int) -> None:
        """Take another limit; what is in flight and what was spent stay."""
        self.limit = limit
        rate_per_s, burst = limit.rate_per_s, limit.burst
        self._concurrency = inf if limit.concurrency is None else max(1, -(-limit.concurrency // shares))
        if rate_per_s is None:
            self._interval_s = self._tolerance_s = 0.0
            return
        tokens = max(1.0, (rate_per_s if burst is None else burst) / shares)
        self._interval_s = shares / rate_per_s
        self._tolerance_s = (tokens - 1.0) * self._interval_s

    def is_idle(self, now_s: float, /) -> bool:
        """Whether a new one would say the same."""
        return self.in_flight == 0 and self._full_at_s <= now_s

    def is_crowded(self) -> bool:
        """Whether as much is in flight as may be."""
        return self.in_flight >= self._concurrency

    def wait_s(self, now_s: float, /) -> float:
        """Seconds until there is a token; 0: now."""
        if not self._interval_s:
            return 0.0
        wait_s = self._full_at_s - self._tolerance_s - now_s
        return wait_s if wait_s > _SLACK_S else 0.0

    def take(self, now_s: float, /) -> None:
        """A request is let in; `wait_s` and `is_crowded` have said that it may be."""
        self.in_flight += 1
        if self._interval_s:
            self._full_at_s = max(self._full_at_s, now_s) + self._interval_s

    def give_back(self, held_s: float, /) -> None:
        """A request has ended after so long."""
        self.in_flight -= 1
        self.held_s += (held_s - self.held_s) * (_SMOOTHING if self.held_s else 1.0)


class Buckets:
    """Buckets by name; those that were asked for longest ago are forgotten where there are too many.

    What has nothing in flight goes, first of all what is full. So there are about as many as `most`, and those that
    have something in flight, which other bounds keep few.
    """

    __slots__ = ("_buckets", "_most", "shares")

    def __init__(self, *, most: int, shares: int = 1) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._most = most
        self.shares = shares

    def __len__(self) -> int:
        return len(self._buckets)

    def get(self, name: str, limit: Limit, now_s: float, /) -> Bucket:
        """The bucket of this name, by the limit that holds now."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(limit, shares=self.shares)
            for _ in range(min(_FORGOTTEN_AT_ONCE, len(self._buckets) - self._most)):
                self._forget(name, now_s)
            return bucket
        self._buckets.move_to_end(name)
        if bucket.limit is not limit:
            bucket.follow(limit, shares=self.shares)
        return bucket

    def share(self, shares: int, /) -> None:
        """Among how many routers limits are divided from now on."""
        if shares != self.shares:
            self.shares = shares
            for bucket in self._buckets.values():
                bucket.follow(bucket.limit, shares=shares)

    def _forget(self, newest: str, now_s: float) -> None:
        """Forget one that was asked for long ago, and has nothing in flight."""
        oldest = [item for item in islice(self._buckets.items(), _LOOKED_AT) if item[0] != newest]
        spare = next((name for name, bucket in oldest if bucket.is_idle(now_s)), None)
        if spare is None:
            spare = next((name for name, bucket in oldest if bucket.in_flight == 0), None)
        if spare is not None:
            del self._buckets[spare]
            return
        for name, _ in oldest:  # all of them in use: the next look is at others
            self._buckets.move_to_end(name)
