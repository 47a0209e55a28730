"""What shards and pools carry, in three dimensions: bytes, bots, requests a second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from botshard.sharding.fleet import BotLoad
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.hashing import shard_of

__all__ = ["Weight", "capacity_of", "shard_weights", "shards_without_heaviest", "weight_of"]


_MILLI = 1000


@dataclass(frozen=True, slots=True)
class Weight:
    """What a shard or a pool carries, or may carry."""

    footprint_bytes: float = 0
    bots: float = 0
    rate_milli_per_s: float = 0
    """Thousandths of a request a second: whole numbers add up exactly, whatever moves to and fro."""

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
        """The fullest dimension: 1.0 is full."""
        return max(
            self.footprint_bytes / capacity.footprint_bytes,
            self.bots / capacity.bots,
            self.rate_milli_per_s / capacity.rate_milli_per_s,
        )


def capacity_of(group: PoolGroupSpec, /) -> Weight:
    """What one pool of the group may carry."""
    return Weight(group.pool_memory_bytes, group.bots_per_pool, 2 * round(group.pool_rate_per_s * _MILLI / 2) or inf)


def weight_of(bot: BotLoad, capacity: Weight, /) -> Weight:
    """What one bot adds to a pool.

    A bot that is busier than half a pool may be counts as that half: no shard can make it lighter, replicas carry the
    rest, and what shares its shard must still fit beside it.
    """
    return Weight(bot.footprint_bytes, 1, _rate_milli_per_s(bot, capacity))


def _rate_milli_per_s(bot: BotLoad, capacity: Weight) -> float:
    return min(round(bot.rate_per_s * _MILLI), capacity.rate_milli_per_s / 2)


def shard_weights(bots: Iterable[BotLoad], bits: int, capacity: Weight, /) -> list[Weight]:
    """What each of the 2^bits shards carries."""
    footprints = [0] * (1 << bits)
    counts = [0] * (1 << bits)
    rates = [0.0] * (1 << bits)
    for bot in bots:
        shard = shard_of(bot.hash, bits)
        footprints[shard] += bot.footprint_bytes
        counts[shard] += 1
        rates[shard] += _rate_milli_per_s(bot, capacity)
    return [Weight(*carried) for carried in zip(footprints, counts, rates, strict=True)]


def shards_without_heaviest(bots: Iterable[BotLoad], bits: int, capacity: Weight, /) -> list[Weight]:
    """What each shard carries besides its heaviest bot, in each dimension: what splitting it could spread."""
    weights = shard_weights(bots, bits, capacity)
    most_bytes = [0] * (1 << bits)
    most_rate = [0.0] * (1 << bits)
    for bot in bots:
        shard = shard_of(bot.hash, bits)
        most_bytes[shard] = max(most_bytes[shard], bot.footprint_bytes)
        most_rate[shard] = max(most_rate[shard], _rate_milli_per_s(bot, capacity))
    return [
        weight - Weight(footprint, min(1, weight.bots), rate)
        for weight, footprint, rate in zip(weights, most_bytes, most_rate, strict=True)
    ]
