"""Which pools each shard of one family lives in, for a given number of pools: the bounded part of placement.

Three steps, each a loop over shards, heaviest first:

1. *Keep.* A shard stays in the pools that it is in, as far as they exist and have room.
2. *Complete.* A shard that lacks pools takes the first of its rendezvous order with room. Room is first measured
   against a bound close to the mean, so that what moves anyway also evens out; only then against capacity.
3. *Even out.* A new pool is filled to its fair share from the fullest pools, with the shards that want it most.

So a change moves what it must: nothing where nothing changed, and about 1/n of the bots for one more pool. Bounded
loads: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016), here on rendezvous order.
"""

from __future__ import annotations

from collections.abc import Sequence

from botshard.sharding.hashing import order_weight, rank_pools
from botshard.sharding.ids import PoolName, ShardIndex
from botshard.sharding.weights import Weight

__all__ = ["assign"]

_EVEN_RATIOS = (1.04, 1.08)
"""Bounds tried before capacity, as multiples of the mean. With 32 shards a pool the first is nearly always enough."""
_MATTERS_RATIO = 0.5
"""A dimension filled less than half as far as the fullest one is not evened out: moving bots for it gains nothing."""

Shards = tuple[tuple[PoolName, ...], ...]


def assign(
    weights: Sequence[Weight],
    bits: int,
    pools: tuple[PoolName, ...],
    present: Shards | None,
    *,
    replicas: int,
    capacity: Weight,
) -> Shards | None:
    """Pools of each shard, best first, or None where some shard finds too few with room.

    Args:
        weights: what each shard carries, 2^bits of them.
        bits: of the family.
        pools: those to use, in order of name.
        present: pools of each shard now, also those that are to be left; None: the family is new.
        replicas: how many pools each shard lives in.
        capacity: of one pool.
    """
    assignment = _Assignment(weights, bits, pools, replicas=replicas, capacity=capacity)
    if present is None:
        return assignment.first()
    return assignment.moved_from(present)


class _Assignment:
    """One family's shards on their way to pools. Lives for one call of `assign`."""

    def __init__(
        self, weights: Sequence[Weight], bits: int, pools: tuple[PoolName, ...], *, replicas: int, capacity: Weight
    ) -> None:
        self._weights = weights
        self._bits = bits
        self._pools = pools
        self._replicas = replicas
        self._capacity = capacity
        self._fair = sum(weights, Weight()).times(replicas / len(pools))
        self._unit = self._near_mean(1.0)
        self._heaviest_first = sorted(
            range(len(weights)), key=lambda shard: (-weights[shard].fill_ratio(self._unit), shard)
        )
        self._orders: dict[int, tuple[PoolName, ...]] = {}
        self._clear()

    def first(self) -> Shards | None:
        """A first placement: the most even one of those that the tried bounds lead to."""
        best: tuple[float, Shards] | None = None
        for ratio in _EVEN_RATIOS:
            self._clear()
            bound = self._near_mean(ratio)
            if self._complete(bound):
                return self._result()
            # Hot shards leave pools full in one dimension and empty in the other: what is left goes where it fits best.
            if self._fit_best(bound):
                busiest = max(load.fill_ratio(bound) for load in self._carried.values()) * ratio
                if best is None or busiest < best[0]:
                    best = busiest, self._result()
        if best is not None:
            return best[1]
        self._clear()
        return self._result() if self._complete(self._capacity) else None

    def _fit_best(self, bound: Weight) -> bool:
        """Give every shard that lacks pools the least filled that has room; whether none lacks any now."""
        for shard in self._heaviest_first:
            while len(self._chosen[shard]) < self._replicas:
                after = {
                    name: self._carried[name] + self._weights[shard]
                    for name in self._pools
                    if name not in self._chosen[shard]
                }
                fitting = [name for name, load in after.items() if load.fits(self._capacity)]
                if not fitting:
                    return False
                self._take(shard, min(fitting, key=lambda name: (after[name].fill_ratio(bound), name)), self._capacity)
        return True

    def moved_from(self, present: Shards) -> Shards | None:
        """A placement that differs from `present` by what must move."""
        self._clear()
        known = set(self._pools)
        came = known.difference(name for names in present for name in names)
        for shard in self._heaviest_first:
            for name in present[shard]:
                if name in known and len(self._chosen[shard]) < self._replicas:
                    self._take(shard, name, self._capacity)
        self._complete(self._near_mean(_EVEN_RATIOS[1]))
        if not self._complete(self._capacity):
            return None
        self._fill(sorted(came), present)
        return self._result(present)

    def _clear(self) -> None:
        self._carried = dict.fromkeys(self._pools, Weight())
        self._chosen: list[list[PoolName]] = [[] for _ in self._weights]

    def _near_mean(self, ratio: float) -> Weight:
        """`ratio` times the mean in each dimension that matters, at most capacity, at least the heaviest shard."""
        capacity, fair = self._capacity, self._fair
        fills = (
            fair.footprint_bytes / capacity.footprint_bytes,
            fair.bots / capacity.bots,
            fair.rate_milli_per_s / capacity.rate_milli_per_s,
        )
        matters = [fill >= _MATTERS_RATIO * max(fills) for fill in fills]
        return Weight(
            _bound(matters[0], fair.footprint_bytes * ratio, capacity.footprint_bytes, self._most("footprint_bytes")),
            _bound(matters[1], fair.bots * ratio, capacity.bots, self._most("bots")),
            _bound(
                matters[2], fair.rate_milli_per_s * ratio, capacity.rate_milli_per_s, self._most("rate_milli_per_s")
            ),
        )

    def _most(self, dimension: str) -> float:
        return max(float(getattr(weight, dimension)) for weight in self._weights)

    def _complete(self, bound: Weight) -> bool:
        """Give every shard that lacks pools the first of its order with room; whether none lacks any now."""
        for shard in self._heaviest_first:
            if len(self._chosen[shard]) == self._replicas:
                continue
            for name in self._order(shard):
                if name not in self._chosen[shard]:
                    self._take(shard, name, bound)
                if len(self._chosen[shard]) == self._replicas:
                    break
        return all(len(names) == self._replicas for names in self._chosen)

    def _fill(self, came: list[PoolName], present: Shards) -> None:
        """Bring new pools to their fair share, each time from the fullest of the others."""
        fair_ratio = self._fair.fill_ratio(self._capacity)
        shards_in: dict[PoolName, set[int]] = {name: set() for name in self._pools}
        for shard, names in enumerate(self._chosen):
            for name in names:
                shards_in[name].add(shard)
        donors = [name for name in self._pools if name not in came]
        while donors and came:
            taker = min(came, key=lambda name: (self._fill_ratio(name), name))
            donor = max(donors, key=lambda name: (self._fill_ratio(name), name))
            if self._fill_ratio(donor) <= fair_ratio:
                return
            moved = self._best_to_move(donor, taker, shards_in, present)
            if moved is None:
                donors.remove(donor)
                continue
            self._chosen[moved][self._chosen[moved].index(donor)] = taker
            self._carried[donor] -= self._weights[moved]
            self._carried[taker] += self._weights[moved]
            shards_in[donor].discard(moved)
            shards_in[taker].add(moved)

    def _best_to_move(
        self, donor: PoolName, taker: PoolName, shards_in: dict[PoolName, set[int]], present: Shards
    ) -> int | None:
        """The donor's shard that wants the taker most, among those that do not overfill it."""
        candidates = [
            shard
            for shard in shards_in[donor]
            if taker not in self._chosen[shard]
            and donor in present[shard]
            and (self._carried[taker] + self._weights[shard]).fits(self._fair)
        ]
        return max(
            candidates,
            key=lambda shard: (order_weight(ShardIndex(shard), self._bits, taker), -shard),
            default=None,
        )

    def _take(self, shard: int, name: PoolName, bound: Weight) -> None:
        after = self._carried[name] + self._weights[shard]
        if after.fits(bound):
            self._carried[name] = after
            self._chosen[shard].append(name)

    def _fill_ratio(self, name: PoolName) -> float:
        return self._carried[name].fill_ratio(self._capacity)

    def _order(self, shard: int) -> tuple[PoolName, ...]:
        """Computed when it is asked for: a plan in which little changes needs few of them."""
        order = self._orders.get(shard)
        if order is None:
            order = self._orders[shard] = rank_pools(ShardIndex(shard), self._bits, self._pools)
        return order

    def _result(self, present: Shards | None = None) -> Shards:
        return tuple(
            present[shard] if present and set(names) == set(present[shard]) else self._ranked(shard, names)
            for shard, names in enumerate(self._chosen)
        )

    def _ranked(self, shard: int, names: list[PoolName]) -> tuple[PoolName, ...]:
        return rank_pools(ShardIndex(shard), self._bits, names)


def _bound(matters: bool, near: float, capacity: float, heaviest: float) -> float:  # noqa: FBT001 - one of three alike
    return min(capacity, max(near, heaviest)) if matters else capacity
