"""Which pool of a shard a request goes to. Pure: the policies are functions from pools to one of them.

A policy is given pools in the table's order, the time, and a source of numbers from 0 to 1, and gives the pool to ask.
What it may look at is `Choosable`. Between equals the table's order decides, which is another one for every shard:
many shards spread over pools by that alone, and what one bot has cached stays where it is.

`usable` comes before every policy: pools that health has ejected are left out, and pools in slow start of a part of the
requests. Another policy is another function here, a word in `RoutePolicy` and a line in `_POLICIES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from botshard.sharding.groups import RoutePolicy
from botshard.sharding.ids import PoolName
from botshard.sharding.routing import GroupRoute, PoolRoute

__all__ = [
    "Choosable",
    "Draw",
    "PeakEwma",
    "Policy",
    "device_memory",
    "first",
    "least_outstanding",
    "policy_of",
    "response_time",
    "two_of",
    "untried",
    "usable",
]

Draw: TypeAlias = Callable[[], float]
"""A number from 0 to 1, 1 not among them."""

_EWMA_TAU_S: Final = 10.0
"""After so long without a slow answer, 37 % of what it weighed are left."""
_LEAST_LATENCY_S: Final = 0.0001


class PeakEwma:
    """How long a pool takes to answer: what is slower counts at once, what is faster bit by bit.

    A pool that begins to be slow is to be left at the first answer that shows it, and to be trusted again slowly. A
    pool that is not asked any more is forgotten bit by bit, so that it is asked again and can show what it is now.
    """

    __slots__ = ("_at_s", "_value_s")

    def __init__(self) -> None:
        self._value_s = 0.0
        self._at_s = 0.0

    def note(self, took_s: float, now_s: float, /) -> None:
        """An answer took `took_s`."""
        left = math.exp(min(0.0, self._at_s - now_s) / _EWMA_TAU_S)
        value_s = self._value_s
        self._value_s = took_s if took_s >= value_s else value_s * left + took_s * (1.0 - left)
        self._at_s = now_s

    def at_least(self, took_s: float, now_s: float, /) -> None:
        """Nobody knows how long an answer would have taken, but for that it was not there after `took_s`."""
        if took_s > self.seconds(now_s):
            self.note(took_s, now_s)

    def seconds(self, now_s: float, /) -> float:
        """What an answer takes lately; 0: nobody knows."""
        return self._value_s * math.exp(min(0.0, self._at_s - now_s) / _EWMA_TAU_S)


class Choosable(Protocol):
    """What a policy sees of a pool."""

    route: PoolRoute
    outstanding: int
    """Requests of this router in flight there."""
    latency: PeakEwma | None
    """Kept where the pool's group chooses by it."""
    free_bytes: int | None
    """Of its GPU's memory; None: its replicas do not say."""

    @property
    def is_ejected(self) -> bool:
        """Whether it is better left alone."""
        ...

    def share(self, now_s: float, /) -> float:
        """The part of its requests that it is given, from 0 to 1."""
        ...


P = TypeVar("P", bound=Choosable)


class Policy(Protocol):
    """One of the functions below."""

    def __call__(self, pools: Sequence[P], now_s: float, draw: Draw, /) -> P:
        """(pools in the table's order, now, numbers by chance) -> the pool to ask."""
        ...


def first(pools: Sequence[P], _now_s: float, _draw: Draw, /) -> P:
    """The table's order: as few pools as possible are awake."""
    return pools[0]


def least_outstanding(pools: Sequence[P], _now_s: float, draw: Draw, /) -> P:
    """Fewest requests in flight, of two pools by chance where there are more."""
    one, other = pools if len(pools) == 2 else two_of(pools, draw)
    return one if one.outstanding <= other.outstanding else other


def response_time(pools: Sequence[P], now_s: float, draw: Draw, /) -> P:
    """The shorter wait: requests in flight and one more, times what an answer takes lately."""
    one, other = two_of(pools, draw)
    return one if _wait_s(one, now_s) <= _wait_s(other, now_s) else other


def _wait_s(pool: Choosable, now_s: float) -> float:
    took_s = 0.0 if pool.latency is None else pool.latency.seconds(now_s)
    if not took_s and pool.outstanding:
        return math.inf  # nobody knows yet, and somebody is about to find out
    return (pool.outstanding + 1) * max(took_s, _LEAST_LATENCY_S)


def device_memory(pools: Sequence[P], now_s: float, draw: Draw, /) -> P:
    """Least in flight for the memory that is free on its GPU: twice the room, twice the requests."""
    one, other = two_of(pools, draw)
    if one.free_bytes is None or other.free_bytes is None:
        return least_outstanding((one, other), now_s, draw)
    # Compared by products: no room at all is not divided by.
    return one if (one.outstanding + 1) * other.free_bytes <= (other.outstanding + 1) * one.free_bytes else other


_POLICIES: Final[Mapping[RoutePolicy, Policy]] = {
    RoutePolicy.FIRST: first,
    RoutePolicy.LEAST_OUTSTANDING: least_outstanding,
    RoutePolicy.RESPONSE_TIME: response_time,
    RoutePolicy.DEVICE_MEMORY: device_memory,
}


def policy_of(group: GroupRoute, /) -> Policy:
    """What the group asks for; else realtime pools share the load, and of others as few as possible are awake."""
    return _POLICIES[group.chosen_by]


def two_of(pools: Sequence[P], draw: Draw, /) -> tuple[P, P]:
    """Two pools by chance, in the table's order; one pool is both.

    The better of two is nearly as good as the best of all, and routers that know nothing of each other do not all run
    to the same one.
    """
    count = len(pools)
    if count <= 2:
        return pools[0], pools[-1]
    one = int(draw() * count)
    other = int(draw() * (count - 1))
    if other >= one:
        other += 1
    return (pools[one], pools[other]) if one < other else (pools[other], pools[one])


def usable(pools: Sequence[P], now_s: float, draw: Draw, /) -> Sequence[P]:
    """The pools that a policy may choose from for one request; at least one.

    At most half of a shard's pools are left out for being ejected, and none where all are: if everything looks broken,
    it is likely not the pools. Pools in slow start are there for a part of the requests.
    """
    ejected = sum(1 for pool in pools if pool.is_ejected)
    if ejected:
        if ejected == len(pools):
            return pools
        spare = ejected - len(pools) // 2  # ejections that are one too many for this shard
        kept = [pool for pool in pools if not pool.is_ejected]
        if spare > 0:
            kept += [pool for pool in pools if pool.is_ejected][:spare]
        pools = kept
    if len(pools) > 1:
        present = [pool for pool in pools if (share := pool.share(now_s)) >= 1.0 or draw() < share]
        return present or pools
    return pools


def untried(pools: Sequence[P], tries: Mapping[PoolName, int], /) -> P:
    """The pool that has failed this request least often (`tries`); between equals one that is not ejected.

    An ejected pool that the request has not tried comes before a healthy one that has just failed it.
    """
    return min(pools, key=lambda pool: (tries.get(pool.route.name, 0), pool.is_ejected))
