"""Which pools each shard of one family lives in, for a given number of pools: the bounded part of placement.

1. *Keep.* A shard stays in the pools that it is in, as far as they are to be used. A pool over capacity gives away what
   it must, the lightest first.
2. *Complete.* A shard that lacks pools takes the first of its rendezvous order with room. Room is first measured
   against a bound close to the mean, so that what moves anyway also evens out; then, for whoever found none, against
   wider ones; at last against capacity.
3. *Fill.* A new pool is brought to its fair share from pools over theirs, with the shards that want it most.

So a change moves what it must: nothing where nothing changed, and 1/n of the bots for one more pool. A family's first
placement has nothing to keep; what it can even out beyond these steps, it does.

Bounded loads: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016), here on rendezvous
order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from botshard.sharding.evenness import Carried, even_out
from botshard.sharding.hashing import RendezvousOrder
from botshard.sharding.ids import PoolName, ShardIndex
from botshard.sharding.weights import NOTHING, Weight

__all__ = ["Overflow", "Shards", "assign"]

Shards = tuple[tuple[PoolName, ...], ...]
"""Pools of each shard, best first."""

_LADDER = ((1.04, 1.04), (1.06, 1.06), (1.09, 1.06), (1.09, 1.5), (1.09, inf))
"""Bounds on bytes and bots, and on the rate, tried one after the other: multiples of the mean. Memory is evened out
before the rate, which replicas can carry. Last comes capacity, the only bound that is never exceeded."""
_GIVING_RATIOS = (1.08, 1.04, 1.0)
"""New pools take from pools that are so far over their share first, then from those so far: multiples of the mean."""
_TAKEN_RATE_RATIO = 1.06
"""Of the mean: the rate that a new pool takes at most. A little over, or requests would fill it before bytes do."""


class Overflow(Weight):
    """Returned instead of an assignment: what found no room in any pool, added up."""


def assign(
    weights: Sequence[Weight],
    bits: int,
    pools: tuple[PoolName, ...],
    present: Shards | None,
    *,
    replicas: int,
    capacity: Weight,
) -> Shards | Overflow:
    """Pools of each shard, or what found no room. The very `present` where nothing must move.

    Args:
        weights: what each shard carries, 2^bits of them; none exceeds `capacity`.
        bits: of the family.
        pools: those to use, in order of name.
        present: pools of each shard now, also those that are to be left; None: the family is new.
        replicas: how many pools each shard lives in.
        capacity: of one pool.
    """
    return _Assignment(weights, bits, pools, replicas=replicas, capacity=capacity).run(present)


class _Assignment:
    """One family's shards on their way to pools. Lives for one call of `assign`. Pools are numbers here."""

    def __init__(
        self, weights: Sequence[Weight], bits: int, pools: tuple[PoolName, ...], *, replicas: int, capacity: Weight
    ) -> None:
        self._weights = weights
        self._pools = pools
        self._replicas = replicas
        self._capacity = capacity
        self._order = RendezvousOrder(bits, pools)
        self._mean = sum((w for w in weights if w.bots), NOTHING).times(replicas / len(pools))
        self._fair = Weight(
            min(self._mean.footprint_bytes, capacity.footprint_bytes),
            min(self._mean.bots, capacity.bots),
            min(self._mean.rate_milli_per_s * _TAKEN_RATE_RATIO, capacity.rate_milli_per_s),
        )
        self._carried = [Carried() for _ in pools]
        self._chosen: list[list[int]] = [[] for _ in weights]

    def run(self, present: Shards | None) -> Shards | Overflow:
        """All steps."""
        came = self._keep(present) if present is not None else set()
        lacking = [shard for shard, pools in enumerate(self._chosen) if len(pools) < self._replicas]
        if present is not None and not lacking and not came and self._is(present):
            return present
        self._complete([shard for shard in lacking if self._weights[shard].bots])
        left = [shard for shard in lacking if self._weights[shard].bots and len(self._chosen[shard]) < self._replicas]
        if left:
            missing = (self._weights[shard].times(self._replicas - len(self._chosen[shard])) for shard in left)
            total = sum(missing, NOTHING)
            return Overflow(total.footprint_bytes, total.bots, total.rate_milli_per_s)
        self._seat_empty([shard for shard in lacking if not self._weights[shard].bots])
        if present is None:
            even_out(self._carried, self._chosen, self._weights, mean=self._mean, capacity=self._capacity)
        elif came:
            self._fill(came)
            self._spread_empty(came)
        self._give_each_pool_a_shard()
        return self._result(present)

    def _keep(self, present: Shards) -> set[int]:
        """Leave shards where they are, within capacity; the pools that no shard was in."""
        number = {name: index for index, name in enumerate(self._pools)}
        came = set(range(len(self._pools)))
        for shard, names in enumerate(present):
            weight, chosen = self._weights[shard], self._chosen[shard]
            for name in names:
                pool = number.get(name)
                if pool is not None:
                    came.discard(pool)
                    if len(chosen) < self._replicas:
                        chosen.append(pool)
                        self._carried[pool].add(weight)
        for pool, carried in enumerate(self._carried):
            if not carried.fits(self._capacity):
                self._shed(pool)
        return came

    def _shed(self, pool: int) -> None:
        """Keep what fits into a pool over capacity, the heaviest first."""
        shards = [shard for shard, pools in enumerate(self._chosen) if pool in pools and self._weights[shard].bots]
        for shard in shards:
            self._carried[pool].take(self._weights[shard])
            self._chosen[shard].remove(pool)
        for shard in self._heaviest_first(shards, self._capacity):
            if self._carried[pool].has_room(self._weights[shard], self._capacity):
                self._put(shard, pool)

    def _is(self, present: Shards) -> bool:
        """Whether each shard has no more pools now than it is to have."""
        return all(len(names) == self._replicas for names in present)

    def _complete(self, lacking: Iterable[int]) -> None:
        """Give shards that lack pools the first of their order with room, as even as it goes."""
        bounds = [self._near_mean(even, rate) for even, rate in _LADDER]
        for shard in self._heaviest_first(lacking, self._mean):
            weight, chosen = self._weights[shard], self._chosen[shard]
            order = self._order.of(ShardIndex(shard))
            for bound in (*bounds, None):
                for pool in order:
                    if len(chosen) == self._replicas:
                        break
                    carried = self._carried[pool]
                    if (
                        pool not in chosen
                        and (bound is None or carried.is_nearly_in(weight, bound))
                        and carried.has_room(weight, self._capacity)
                    ):
                        self._put(shard, pool)
                if len(chosen) == self._replicas:
                    break

    def _near_mean(self, even_ratio: float, rate_ratio: float) -> Weight:
        mean = self._mean
        return Weight(
            mean.footprint_bytes * even_ratio, mean.bots * even_ratio, mean.rate_milli_per_s * rate_ratio or inf
        )

    def _seat_empty(self, lacking: Iterable[int]) -> None:
        """Shards without bots go anywhere: one hash says where."""
        count = len(self._pools)
        for shard in lacking:
            pool = self._order.first_guess(ShardIndex(shard))
            while len(self._chosen[shard]) < self._replicas:
                if pool not in self._chosen[shard]:
                    self._chosen[shard].append(pool)
                pool = (pool + 1) % count

    def _fill(self, came: set[int]) -> None:
        """Bring new pools to their fair share at the cost of those over theirs."""
        takers = sorted(came)
        wishes = []
        for shard, pools in enumerate(self._chosen):
            if not self._weights[shard].bots:
                continue
            wanted: list[tuple[bytes, int]] | None = None
            for donor in pools:
                if donor not in came and self._is_over_fair(donor):
                    if wanted is None:
                        weights = self._order.weights(ShardIndex(shard), takers)
                        wanted = sorted(zip(weights, takers, strict=True), reverse=True)
                    wishes.append((wanted[0][0], shard, donor, [to for _, to in wanted]))
        wishes.sort(key=lambda wish: (wish[0], wish[1], wish[2]), reverse=True)
        for ratio in _GIVING_RATIOS:
            wishes = [wish for wish in wishes if not self._give(wish[1], wish[2], wish[3], over=ratio)]
        for _, shard, donor, order in wishes:
            self._give_to_empty(shard, donor, order)

    def _give_to_empty(self, shard: int, donor: int, takers: Sequence[int]) -> None:
        """A new pool whose fair share no shard fits into takes one all the same, from a pool that keeps another.

        Else few bots would stay together however many pools came to part them.
        """
        empty = [taker for taker in takers if not self._carried[taker].bots]
        if empty and self._carried[donor].bots > self._weights[shard].bots:
            self._move(shard, donor, empty[0])

    def _give(self, shard: int, donor: int, takers: Sequence[int], *, over: float) -> bool:
        """Move a shard from a pool that is over its share by that ratio to the first that has room; whether it did."""
        if not self._is_over_fair(donor, over):
            return False
        weight, pools = self._weights[shard], self._chosen[shard]
        for taker in takers:
            if taker not in pools and self._carried[taker].has_room(weight, self._fair):
                self._move(shard, donor, taker)
                return True
        return False

    def _move(self, shard: int, donor: int, taker: int) -> None:
        pools = self._chosen[shard]
        pools[pools.index(donor)] = taker
        self._carried[donor].take(self._weights[shard])
        self._carried[taker].add(self._weights[shard])

    def _spread_empty(self, came: set[int]) -> None:
        """New pools get their share of shards without bots as well: bots that are published later land there."""
        shards_in = self._shards_in()
        fair = self._replicas * len(self._chosen) / len(self._pools)
        takers = sorted(came, reverse=True)
        for shard, pools in enumerate(self._chosen):
            if self._weights[shard].bots:
                continue
            for position, donor in enumerate(pools):
                while takers and shards_in[takers[-1]] >= fair:
                    takers.pop()
                if takers and donor not in came and shards_in[donor] > fair and takers[-1] not in pools:
                    pools[position] = takers[-1]
                    shards_in[donor] -= 1
                    shards_in[takers[-1]] += 1

    def _shards_in(self) -> list[int]:
        count = [0] * len(self._pools)
        for pools in self._chosen:
            for pool in pools:
                count[pool] += 1
        return count

    def _is_over_fair(self, pool: int, ratio: float = 1.0) -> bool:
        carried, mean = self._carried[pool], self._mean
        if carried.footprint_bytes > mean.footprint_bytes * ratio or carried.bots > mean.bots * ratio:
            return True
        # Without a bound on it, rate is no reason to move: a pool with one hot bot would give away all else for it.
        return self._capacity.rate_milli_per_s < inf and carried.rate_milli_per_s > mean.rate_milli_per_s * ratio

    def _give_each_pool_a_shard(self) -> None:
        """A pool that no shard is in would not be known as one: it takes the lightest of who has most."""
        count = self._shards_in()
        for empty in (pool for pool, shards in enumerate(count) if not shards):
            donor = max(range(len(count)), key=lambda pool: (count[pool], -pool))
            shards = (shard for shard, pools in enumerate(self._chosen) if donor in pools)
            shard = min(shards, key=lambda shard: (self._weights[shard].fill_ratio(self._capacity), shard))
            self._move(shard, donor, empty)
            count[donor] -= 1
            count[empty] += 1

    def _heaviest_first(self, shards: Iterable[int], unit: Weight) -> list[int]:
        return sorted(shards, key=lambda shard: (-self._weights[shard].fill_ratio(unit), shard))

    def _put(self, shard: int, pool: int) -> None:
        self._chosen[shard].append(pool)
        self._carried[pool].add(self._weights[shard])

    def _result(self, present: Shards | None) -> Shards:
        names = self._pools
        result = []
        for shard, pools in enumerate(self._chosen):
            chosen = tuple(names[pool] for pool in pools)
            if present is not None and set(chosen) == set(present[shard]):
                chosen = present[shard]
            elif len(pools) > 1:
                by_weight = zip(self._order.weights(ShardIndex(shard), pools), chosen, strict=True)
                chosen = tuple(name for _, name in sorted(by_weight, key=_weight, reverse=True))
            result.append(chosen)
        return tuple(result)


def _weight(weighed: tuple[bytes, PoolName]) -> bytes:
    return weighed[0]
