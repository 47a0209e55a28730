"""What bots, shards and pools carry, in three dimensions: bytes, bots, requests a second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from botshard.sharding.fleet import BotLoad
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.hashing import HASH_BITS

__all__ = ["NOTHING", "Weight", "capacity_of", "shard_weights", "shards_without_heaviest", "weight_of"]

_MILLI = 1000


@dataclass(frozen=True, slots=True)
class Weight:
    """What a shard or a pool carries, or may carry. Whole numbers: they add up exactly, whatever moves to and fro."""

    footprint_bytes: float = 0
    bots: float = 0
    rate_milli_per_s: float = 0
    """Thousandths of a request a second."""

    def __add__(self, other: Weight) -> Weight:
        return Weight(
            self.footprint_bytes + other.footprint_bytes,
            self.bots + other.bots,
            self.rate_milli_per_s + other.rate_milli_per_s,
        )

    def __sub__(self, other: Weight) -> Weight:
        return Weight(
            self.footprint_bytes - other.footprint_bytes,
            self.bots - other.bots,
            self.rate_milli_per_s - other.rate_milli_per_s,
        )

    def times(self, factor: float) -> Weight:
        """Each dimension multiplied."""
        return Weight(self.footprint_bytes * factor, self.bots * factor, self.rate_milli_per_s * factor)

    def fits(self, capacity: Weight) -> bool:
        """Whether no dimension exceeds the capacity's."""
        return (
            self.footprint_bytes <= capacity.footprint_bytes
            and self.bots <= capacity.bots
            and self.rate_milli_per_s <= capacity.rate_milli_per_s
        )

    def fill_ratio(self, capacity: Weight) -> float:
        """The fullest dimension: 1.0 is full. A dimension in which nothing is to be had and nothing is carried is 0."""
        return max(
            _ratio(self.footprint_bytes, capacity.footprint_bytes),
            _ratio(self.bots, capacity.bots),
            _ratio(self.rate_milli_per_s, capacity.rate_milli_per_s),
        )


NOTHING = Weight()


def _ratio(carried: float, capacity: float) -> float:
    return carried / capacity if capacity else inf if carried else 0.0


def capacity_of(group: PoolGroupSpec, /) -> Weight:
    """What may be placed in one pool of the group. A group without a bound on the rate has an infinite one."""
    return Weight(
        int(group.pool_memory_bytes * group.overcommit),
        group.bots_per_pool,
        2 * round(group.pool_rate_per_s * _MILLI / 2) or inf,
    )


def weight_of(bot: BotLoad, capacity: Weight, /) -> Weight:
    """What one bot adds to a pool.

    A bot that is busier than half a pool may be counts as that half: no shard can make it lighter, replicas carry the
    rest, and what shares its shard must still fit beside it.
    """
    return Weight(bot.footprint_bytes, 1, min(round(bot.rate_per_s * _MILLI), capacity.rate_milli_per_s / 2))


def shard_weights(bots: Iterable[BotLoad], bits: int, capacity: Weight, /) -> list[Weight]:
    """What each of the 2^bits shards carries. Cost: O(bots + 2^bits)."""
    footprints = [0] * (1 << bits)
    counts = [0] * (1 << bits)
    rates: list[float] = [0] * (1 << bits)
    shift, most = HASH_BITS - bits, capacity.rate_milli_per_s / 2
    for bot in bots:
        shard = bot.hash >> shift
        footprints[shard] += bot.footprint_bytes
        counts[shard] += 1
        if bot.rate_per_s:
            rates[shard] += min(round(bot.rate_per_s * _MILLI), most)
    return [
        Weight(footprint, count, rate) if count else NOTHING
        for footprint, count, rate in zip(footprints, counts, rates, strict=True)
    ]


def shards_without_heaviest(
    bots: Iterable[BotLoad], weights: list[Weight], bits: int, capacity: Weight
) -> list[Weight]:
    """What each shard carries besides its heaviest bot, in each dimension: what splitting it could spread."""
    shift, most = HASH_BITS - bits, capacity.rate_milli_per_s / 2
    most_bytes = [0] * (1 << bits)
    most_rate = [0.0] * (1 << bits)
    for bot in bots:
        shard = bot.hash >> shift
        most_bytes[shard] = max(most_bytes[shard], bot.footprint_bytes)
        most_rate[shard] = max(most_rate[shard], bot.rate_per_s)
    return [
        weight - Weight(footprint, min(1, weight.bots), min(round(rate * _MILLI), most))
        for weight, footprint, rate in zip(weights, most_bytes, most_rate, strict=True)
    ]
