"""Where each shard goes: rendezvous order, bounded by capacity, kept where it is as far as that holds.

For each family on its own: bots are weighed by shard; there are as many pools as footprint and number of bots need;
each shard takes the first k pools of its own rendezvous order that have room. A shard that is placed already stays
unless its pool is gone or over capacity, or a *new* pool stands among the first k of its order: so one more pool moves
about 1/n of the bots, and what is left of a pool's capacity never makes shards wander.

Bounded loads: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016), here on rendezvous
order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.errors import CallerError
from botshard.sharding.fleet import BotLoad, Snapshot
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.hashing import MAX_SHARD_BITS, family_id, pool_name, rank_pools, shard_of
from botshard.sharding.ids import BotId, FamilyId, PoolName, ShardIndex
from botshard.sharding.routing import FamilyRoutes
from botshard.sharding.units import format_bytes

__all__ = ["FamilyPlacement", "Placement", "Refusal", "Weight", "place", "shard_weights"]

_MIN_BITS = 4
_SHARDS_PER_POOL = 16
"""Enough that a pool's load can be met within some percent by whole shards (1/16 each)."""
_SHARE_OF_POOL = 4
"""A shard heavier than a quarter of a pool is split: bigger ones leave pools half empty."""
_FINER_BITS = 2
"""How far that may go beyond the shards that the number of pools asks for: few big bots must not cost a million shards.
A shard that fits no pool is split further, up to `MAX_SHARD_BITS`."""
_FILL_RATIO = 0.8
"""Pools are added so that the mean fill stays under this: what hashing leaves uneven needs the rest."""
_SHRINK_FILL_RATIO = 0.65
"""Pools are taken away only if the others would then be filled no further than this: nothing flaps in between."""


@dataclass(frozen=True, slots=True)
class Weight:
    """What a shard or a pool carries."""

    footprint_bytes: int = 0
    bots: int = 0

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.footprint_bytes + other.footprint_bytes, self.bots + other.bots)

    def fits(self, capacity: Weight) -> bool:
        """Whether no dimension exceeds the capacity's."""
        return self.footprint_bytes <= capacity.footprint_bytes and self.bots <= capacity.bots


@dataclass(frozen=True, slots=True)
class FamilyPlacement:
    """Pools of one family and which of them each shard lives in, best first."""

    id: FamilyId
    key: FamilyKey
    bits: int
    pools: tuple[PoolName, ...]
    shards: tuple[tuple[PoolName, ...], ...]

    @classmethod
    def of_routes(cls, routes: FamilyRoutes) -> FamilyPlacement:
        """Where the shards of a published table are or, if they are on their way, will be."""
        shards = tuple(
            routes.targets[ShardIndex(index)].pools if ShardIndex(index) in routes.targets else pools
            for index, pools in enumerate(routes.shards)
        )
        placed = {name for pools in shards for name in pools}
        return cls(routes.id, routes.key, routes.bits, tuple(n for n in sorted(routes.urls) if n in placed), shards)

    def split_to(self, bits: int) -> FamilyPlacement:
        """The same placement said with more bits: both halves of a shard are where it is."""
        if bits < self.bits:
            raise CallerError(f"family {self.id}: shards are never joined ({self.bits} bits to {bits})")
        repeat = 1 << (bits - self.bits)
        shards = tuple(pools for pools in self.shards for _ in range(repeat))
        return FamilyPlacement(self.id, self.key, bits, self.pools, shards)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A bot that no pool is planned for, and why."""

    bot: BotId
    reason: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Shard → ordered pools, for every family."""

    families: Mapping[FamilyId, FamilyPlacement]
    refused: tuple[Refusal, ...] = ()


def place(snapshot: Snapshot, /) -> Placement:
    """Where every shard should be, given where it is. Same snapshot, same placement, on any machine.

    Cost: O(bots + shards · pools log pools) a family.
    """
    by_family: dict[FamilyKey, list[BotLoad]] = {}
    refused: list[Refusal] = []
    for bot in snapshot.bots:
        reason = _reason_to_refuse(bot, snapshot.groups.get(bot.key.group))
        if reason is None:
            by_family.setdefault(bot.key, []).append(bot)
        else:
            refused.append(Refusal(bot.id, reason))
    families: dict[FamilyId, FamilyPlacement] = {}
    for key in sorted(by_family, key=lambda key: (key.group, key.framework, key.backbone or "", key.pin or "")):
        name = family_id(key)
        routes = snapshot.table.families.get(name) if snapshot.table else None
        present = FamilyPlacement.of_routes(routes) if routes else None
        holder = families.get(name, present)
        if holder is not None and holder.key != key:
            reason = f"the id of its family, {name}, is that of {holder.key} already: give it another pin or backbone"
            refused += [Refusal(bot.id, reason) for bot in by_family[key]]
            continue
        family = _Family(key, snapshot.groups[key.group], by_family[key])
        families[name] = family.place(present)
        refused += family.refused
    return Placement(families, tuple(refused))


def _reason_to_refuse(bot: BotLoad, group: PoolGroupSpec | None) -> str | None:
    if group is None:
        return f"its pool group {bot.key.group!r} does not exist"
    if bot.footprint_bytes > group.pool_memory_bytes:
        needed, available = format_bytes(bot.footprint_bytes), format_bytes(group.pool_memory_bytes)
        return f"it needs {needed}, a pool of group {group.name!r} has {available}"
    return None


def shard_weights(bots: Iterable[BotLoad], bits: int, /) -> list[Weight]:
    """What each of the 2^bits shards carries."""
    footprints = [0] * (1 << bits)
    counts = [0] * (1 << bits)
    for bot in bots:
        shard = shard_of(bot.hash, bits)
        footprints[shard] += bot.footprint_bytes
        counts[shard] += 1
    return [Weight(footprint, count) for footprint, count in zip(footprints, counts, strict=True)]


class _Family:
    """One family's bots on their way to pools. Lives for one call of `place`."""

    def __init__(self, key: FamilyKey, group: PoolGroupSpec, bots: list[BotLoad]) -> None:
        self.key = key
        self.id = family_id(key)
        self.replicas = group.shard_replicas
        self.capacity = Weight(group.pool_memory_bytes, group.bots_per_pool)
        self.bots = bots
        self.refused: list[Refusal] = []

    def place(self, present: FamilyPlacement | None) -> FamilyPlacement:
        """Where the family should be, given where it is."""
        least = self._pools_needed(_FILL_RATIO)
        after_shrinking = max(least, self._pools_needed(_SHRINK_FILL_RATIO))
        if present is None:
            placed = self._with_enough_pools(least, None)
        else:
            placed = self._with_enough_pools(max(least, min(len(present.pools), after_shrinking)), present)
        # Big bots can need more pools than the fill ratios say. Whether fewer would do is asked here, until nothing
        # changes any more, since the next call would ask it: a placement of its own result is that result.
        while len(placed.pools) > after_shrinking:
            fewer = self._with_enough_pools(after_shrinking, placed)
            if len(fewer.pools) == len(placed.pools):
                break
            placed = fewer
        return placed

    def _with_enough_pools(self, count: int, start: FamilyPlacement | None) -> FamilyPlacement:
        """A placement in `count` pools, or in as many more as it takes."""
        bits = start.bits if start else 0
        while True:
            bits = self._choose_bits(count, bits)
            weights = shard_weights(self.bots, bits)
            pools = _choose_pools(self.key, self.id, count, start.pools if start else ())
            split = start.split_to(bits) if start else None
            shards = _assign(weights, bits, pools, split, replicas=self.replicas, capacity=self.capacity)
            if shards is not None:
                return FamilyPlacement(self.id, self.key, bits, pools, shards)
            count += 1

    def _pools_needed(self, fill_ratio: float) -> int:
        footprint_bytes = sum(bot.footprint_bytes for bot in self.bots)
        by_bytes = ceil(self.replicas * footprint_bytes / (self.capacity.footprint_bytes * fill_ratio))
        by_bots = ceil(self.replicas * len(self.bots) / (self.capacity.bots * fill_ratio))
        # No two bots of more than half a pool share one.
        alone = sum(2 * bot.footprint_bytes > self.capacity.footprint_bytes for bot in self.bots)
        return max(self.replicas, by_bytes, by_bots, self.replicas * alone)

    def _choose_bits(self, pools: int, present_bits: int) -> int:
        enough = max(_MIN_BITS, (pools * _SHARDS_PER_POOL - 1).bit_length())
        good = Weight(self.capacity.footprint_bytes // _SHARE_OF_POOL, max(1, self.capacity.bots // _SHARE_OF_POOL))
        bits = max(enough, present_bits)
        while bits < MAX_SHARD_BITS:
            bound = good if bits < enough + _FINER_BITS else self.capacity
            # A single heavy bot is no reason to split: that never makes it lighter.
            if all(weight.fits(bound) or weight.bots <= 1 for weight in shard_weights(self.bots, bits)):
                return bits
            bits += 1
        # With those gone that no splitting separates, coarser shards may do: a million of them is a last resort.
        return self._choose_bits(pools, present_bits) if self._refuse_crowded() else MAX_SHARD_BITS

    def _refuse_crowded(self) -> bool:
        """Refuse bots that the finest shards still leave with more in one shard than a pool holds; whether any was."""
        seated: list[BotLoad] = []
        carried: dict[ShardIndex, Weight] = {}
        for bot in sorted(self.bots, key=lambda bot: (bot.footprint_bytes, bot.id)):
            shard = shard_of(bot.hash, MAX_SHARD_BITS)
            before = carried.get(shard, Weight())
            after = before + Weight(bot.footprint_bytes, 1)
            if after.fits(self.capacity):
                carried[shard] = after
                seated.append(bot)
                continue
            needed, pool = format_bytes(after.footprint_bytes), format_bytes(self.capacity.footprint_bytes)
            reason = (
                f"it and {before.bots} whose hashes begin like its own need {needed}, a pool has {pool} and room "
                f"for {self.capacity.bots} bots: give it a pin"
            )
            self.refused.append(Refusal(bot.id, reason))
        is_crowded = len(seated) < len(self.bots)
        self.bots = seated
        return is_crowded


def _choose_pools(key: FamilyKey, family: FamilyId, count: int, present: tuple[PoolName, ...]) -> tuple[PoolName, ...]:
    """`count` pools: those present, the latest made leave first, the lowest free ordinals come."""
    kept = set(present)
    chosen: list[PoolName] = []
    free: list[PoolName] = []
    ordinal = 0
    while len(chosen) < count and (kept or len(chosen) + len(free) < count):
        name = pool_name(key.group, family, ordinal)
        ordinal += 1
        if name in kept:
            kept.discard(name)
            chosen.append(name)
        elif len(free) < count and name not in free and name not in chosen:
            free.append(name)
        if ordinal > _MAX_ORDINAL:
            break  # what is still in `kept` was not named by us; it is left to be drained
    return tuple(sorted(chosen + free[: count - len(chosen)]))


_MAX_ORDINAL = 100_000


def _assign(
    weights: list[Weight],
    bits: int,
    pools: tuple[PoolName, ...],
    present: FamilyPlacement | None,
    *,
    replicas: int,
    capacity: Weight,
) -> tuple[tuple[PoolName, ...], ...] | None:
    """Pools of each shard, or None where some shard finds too few with room."""
    orders = [rank_pools(ShardIndex(shard), bits, pools) for shard in range(1 << bits)]
    total = sum(weights, Weight())
    fair = Weight(replicas * total.footprint_bytes // len(pools), replicas * total.bots // len(pools))
    carried = dict.fromkeys(pools, Weight())
    chosen: list[list[PoolName]] = [[] for _ in orders]
    new = set(pools).difference(present.pools if present else ())
    heaviest_first = sorted(
        range(1 << bits), key=lambda shard: (-weights[shard].footprint_bytes, -weights[shard].bots, shard)
    )

    def take(shard: int, candidates: Iterable[PoolName], bound_of_new: Weight) -> None:
        for name in candidates:
            if len(chosen[shard]) == replicas:
                return
            after = carried[name] + weights[shard]
            if name not in chosen[shard] and after.fits(bound_of_new if name in new else capacity):
                carried[name] = after
                chosen[shard].append(name)

    for shard in heaviest_first:
        stays = present.shards[shard] if present else ()
        best = orders[shard][:replicas]
        candidates = [name for name in orders[shard] if name in stays or (name in new and name in best)]
        # Chance would give a new pool more than its share, which moves bots for nothing.
        take(shard, candidates, bound_of_new=fair if present else capacity)
    for shard in heaviest_first:
        take(shard, orders[shard], bound_of_new=capacity)
        if len(chosen[shard]) < replicas:
            return None
    rank = [{name: position for position, name in enumerate(order)} for order in orders]
    return tuple(tuple(sorted(names, key=rank[shard].__getitem__)) for shard, names in enumerate(chosen))
