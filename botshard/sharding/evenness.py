"""What a pool carries while shards come and go, and evening out a first placement, where moving costs nothing yet."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from botshard.sharding.weights import Weight

__all__ = ["Carried", "even_out"]

_EVEN_ENOUGH = 1.03
"""Of the mean: no further."""
_MOST_BYTES = 1.09
"""Of the mean: bytes of a pool that takes requests from another."""
_MOST_RATE = 1.06
"""Of the mean: requests of a pool that takes bytes from another, unless some pool has more anyway."""
_BYTES, _RATE = 0, 1
_MOST_TAKERS = 8
"""Pools that a shard of the fullest one is offered to, the emptiest first."""
_LEAST_GAIN = 0.001
"""Of the mean: what is worth a move."""
_MOVES_PER_POOL = 8
"""Moves at most, in each dimension: enough for what hashing leaves uneven, and an end for fleets of a few odd bots."""
_MOST_SWAPPED = 8
"""Shards of either that are offered in exchange."""


class Carried:
    """A pool's load: a `Weight` that changes, since this is asked millions of times."""

    __slots__ = ("bots", "footprint_bytes", "rate_milli_per_s")

    def __init__(self) -> None:
        self.footprint_bytes: float = 0
        self.bots: float = 0
        self.rate_milli_per_s: float = 0

    def add(self, weight: Weight) -> None:
        """A shard comes."""
        self.footprint_bytes += weight.footprint_bytes
        self.bots += weight.bots
        self.rate_milli_per_s += weight.rate_milli_per_s

    def take(self, weight: Weight) -> None:
        """A shard goes."""
        self.footprint_bytes -= weight.footprint_bytes
        self.bots -= weight.bots
        self.rate_milli_per_s -= weight.rate_milli_per_s

    def fits(self, capacity: Weight) -> bool:
        """Whether it is within capacity as it is."""
        return (
            self.footprint_bytes <= capacity.footprint_bytes
            and self.bots <= capacity.bots
            and self.rate_milli_per_s <= capacity.rate_milli_per_s
        )

    def has_room(self, weight: Weight, capacity: Weight) -> bool:
        """Whether it would be with one more shard."""
        return (
            self.footprint_bytes + weight.footprint_bytes <= capacity.footprint_bytes
            and self.bots + weight.bots <= capacity.bots
            and self.rate_milli_per_s + weight.rate_milli_per_s <= capacity.rate_milli_per_s
        )

    def is_nearly_in(self, weight: Weight, bound: Weight) -> bool:
        """Whether it would be within a bound that no pool must keep: what is heavier than it, counts as it."""
        return (
            self.footprint_bytes + min(weight.footprint_bytes, bound.footprint_bytes) <= bound.footprint_bytes
            and self.bots + min(weight.bots, bound.bots) <= bound.bots
            and self.rate_milli_per_s + min(weight.rate_milli_per_s, bound.rate_milli_per_s) <= bound.rate_milli_per_s
        )


def _over(load: Carried | Weight, mean: Weight) -> tuple[float, float]:
    """Bytes and rate of a pool or a shard as multiples of a pool's mean; 0 where there is nothing of it."""
    return (
        load.footprint_bytes / mean.footprint_bytes if mean.footprint_bytes else 0.0,
        load.rate_milli_per_s / mean.rate_milli_per_s if mean.rate_milli_per_s else 0.0,
    )


def even_out(
    carried: Sequence[Carried],
    chosen: Sequence[list[int]],
    weights: Sequence[Weight],
    *,
    mean: Weight,
    capacity: Weight,
) -> None:
    """Take shards from the pool with most requests, then from the one with most bytes, as long as that makes it better.

    Args:
        carried: by each pool; changed.
        chosen: pools of each shard; changed.
        weights: of the shards.
        mean: of a pool.
        capacity: of a pool.
    """
    shards_in: list[set[int]] = [set() for _ in carried]
    for shard, pools in enumerate(chosen):
        if weights[shard].bots:
            for pool in pools:
                shards_in[pool].add(shard)
    evening = _Evening(carried, chosen, weights, shards_in, mean, capacity)
    evening.run(_RATE, other_up_to=_MOST_BYTES)
    worst_rate = max(_over(pool, mean)[_RATE] for pool in carried)
    evening.run(_BYTES, other_up_to=max(_MOST_RATE, worst_rate))


@dataclass(frozen=True, slots=True)
class _Evening:
    """One call of `even_out`. Shares are multiples of a pool's mean, (bytes, rate)."""

    carried: Sequence[Carried]
    chosen: Sequence[list[int]]
    weights: Sequence[Weight]
    shards_in: list[set[int]]
    mean: Weight
    capacity: Weight

    def run(self, dimension: int, *, other_up_to: float) -> None:
        """Even out one dimension, while the other stays within a bound."""
        for _ in range(_MOVES_PER_POOL * len(self.carried)):
            fill = [_over(pool, self.mean)[dimension] for pool in self.carried]
            fullest = max(range(len(fill)), key=lambda pool: (fill[pool], -pool))
            if fill[fullest] <= _EVEN_ENOUGH:
                return
            takers = heapq.nsmallest(_MOST_TAKERS, range(len(fill)), key=lambda pool: (fill[pool], pool))
            best = min(self._moves(fullest, takers, dimension, other_up_to), default=None)
            if best is None or best[0] > fill[fullest] - _LEAST_GAIN:
                return
            _, shard, taker, back = best
            self._move(shard, fullest, taker)
            if back >= 0:
                self._move(back, taker, fullest)

    def _moves(
        self, fullest: int, takers: Sequence[int], dimension: int, other_up_to: float
    ) -> Iterator[tuple[float, int, int, int]]:
        """What the fuller of two pools would be; the shard to move; the pool that takes it; the one to take back."""
        here = _over(self.carried[fullest], self.mean)
        heaviest = sorted(self.shards_in[fullest], key=lambda shard: (-self._share(shard)[dimension], shard))
        for taker in takers:
            there = _over(self.carried[taker], self.mean)
            lightest = heapq.nsmallest(
                _MOST_SWAPPED, self.shards_in[taker], key=lambda shard: (self._share(shard)[dimension], shard)
            )
            for position, shard in enumerate(heaviest):
                if taker in self.chosen[shard]:
                    continue
                out = self._share(shard)
                for back in (-1, *lightest) if position < _MOST_SWAPPED else (-1,):
                    if back >= 0 and fullest in self.chosen[back]:
                        continue
                    into = self._share(back) if back >= 0 else (0.0, 0.0)
                    net = out[0] - into[0], out[1] - into[1]
                    others = here[1 - dimension] - net[1 - dimension], there[1 - dimension] + net[1 - dimension]
                    fits = max(others) <= max(other_up_to, here[1 - dimension])
                    if net[dimension] > 0 and fits and self._has_room(fullest, taker, shard, back):
                        fuller = max(here[dimension] - net[dimension], there[dimension] + net[dimension])
                        yield fuller, shard, taker, back

    def _has_room(self, fullest: int, taker: int, shard: int, back: int) -> bool:
        weight = self.weights[shard]
        if back < 0:
            return self.carried[taker].has_room(weight, self.capacity)
        other = self.weights[back]
        return self.carried[taker].has_room(weight - other, self.capacity) and self.carried[fullest].has_room(
            other - weight, self.capacity
        )

    def _share(self, shard: int) -> tuple[float, float]:
        return _over(self.weights[shard], self.mean)

    def _move(self, shard: int, source: int, to: int) -> None:
        pools = self.chosen[shard]
        pools[pools.index(source)] = to
        self.carried[source].take(self.weights[shard])
        self.carried[to].add(self.weights[shard])
        self.shards_in[source].discard(shard)
        self.shards_in[to].add(shard)
