"""Where each shard goes: as many pools as the bots need, each shard in the first of its own order that have room.

For each family on its own: bots are weighed by shard, in bytes, bots and requests a second; there are as many pools as
the fullest dimension needs; `assignment` gives each shard its pools. Number of pools and of shards are chosen here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from botshard.sharding.assignment import assign
from botshard.sharding.blast import fewest_pools, worst_pools
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.errors import CallerError
from botshard.sharding.fleet import BotLoad, Snapshot
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.hashing import MAX_SHARD_BITS, family_id, pool_name, shard_of
from botshard.sharding.ids import BotId, FamilyId, GroupName, PoolName, ShardIndex
from botshard.sharding.routing import FamilyRoutes
from botshard.sharding.units import format_bytes
from botshard.sharding.weights import Weight, capacity_of, shard_weights, shards_without_heaviest, weight_of

__all__ = ["FamilyPlacement", "Placement", "Refusal", "place"]

_MIN_BITS = 4
_SHARDS_PER_POOL = 32
"""Enough that pools even out within some percent by whole shards (a thirty-second of a pool each)."""
_SHARE_OF_POOL = 4
"""A shard heavier than a quarter of a pool is split: bigger ones leave pools half empty."""
_FINER_BITS = 1
"""How far that may go beyond the shards that the number of pools asks for: few big bots must not cost a million shards.
A shard that fits no pool is split further, up to `MAX_SHARD_BITS`."""
_FILL_RATIO = 0.8
"""Pools are added so that the mean fill stays under this: what hashing leaves uneven needs the rest."""
_SHRINK_FILL_RATIO = 0.65
"""Pools are taken away only if the others would then be filled no further than this: nothing flaps in between."""
_MOST_POOLS_FOR_BLAST = 64
"""A limit on the blast radius adds pools to a family only up to so many: beyond, it is the limit that is wrong."""
_MAX_ORDINAL = 100_000
"""A family with so many pools has names in its table that are not ours."""


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
    held: Mapping[FamilyId, str] = field(default_factory=dict)
    """Families that stay as they are since what they need would break their group's limit: why, in a sentence."""


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
    held: dict[FamilyId, str] = {}
    others = _others_in_group(by_family)
    for key in sorted(by_family, key=lambda key: (key.group, key.framework, key.backbone or "", key.pin or "")):
        name = family_id(key)
        routes = snapshot.table.families.get(name) if snapshot.table else None
        present = FamilyPlacement.of_routes(routes) if routes else None
        holder = families.get(name, present)
        if holder is not None and holder.key != key:
            reason = f"the id of its family, {name}, is that of {holder.key} already: give it another pin or backbone"
            refused += [Refusal(bot.id, reason) for bot in by_family[key]]
            continue
        family = _Family(key, snapshot, by_family[key], others=others[key.group])
        placed = family.place_within_limit(present)
        refused += family.refused
        if placed is not None:
            families[name] = placed
        if family.held is not None:
            held[name] = family.held
    return Placement(families, tuple(refused), held)


def _others_in_group(by_family: Mapping[FamilyKey, list[BotLoad]]) -> dict[GroupName, int]:
    """How many bots each group has besides any one of them."""
    others: dict[GroupName, int] = {}
    for key, bots in by_family.items():
        others[key.group] = others.get(key.group, -1) + len(bots)
    return others


def _reason_to_refuse(bot: BotLoad, group: PoolGroupSpec | None) -> str | None:
    if group is None:
        return f"its pool group {bot.key.group!r} does not exist"
    if bot.footprint_bytes > group.pool_memory_bytes:
        needed, available = format_bytes(bot.footprint_bytes), format_bytes(group.pool_memory_bytes)
        return f"it needs {needed}, a pool of group {group.name!r} has {available}"
    return None


class _Family:
    """One family's bots on their way to pools. Lives for one call of `place`."""

    def __init__(self, key: FamilyKey, snapshot: Snapshot, bots: list[BotLoad], *, others: int) -> None:
        group = snapshot.groups[key.group]
        self.key = key
        self.id = family_id(key)
        self.replicas = group.shard_replicas
        self.capacity = capacity_of(group)
        self.bots = bots
        self.refused: list[Refusal] = []
        self.held: str | None = None
        self._leaving = snapshot.leaving
        self._at_least = snapshot.more_pools.get(self.id, 0)
        self._limit = group.blast_radius_limit
        self._others = others

    def place_within_limit(self, present: FamilyPlacement | None) -> FamilyPlacement | None:
        """Where the family should be under its group's limit on the blast radius; pools are added to keep it.

        What would break the limit, and is no better than what is, is not done: `held` says why, and a family that is
        not placed yet is refused.
        """
        if self._limit is None:
            return self._place(present, self._at_least)
        placed, share = self._with_small_share(present, self._limit)
        while share <= self._limit:
            # As in `_place`: whether fewer would do from there is asked now, since the next call would ask it.
            fewer, share = self._with_small_share(placed, self._limit)
            if len(fewer.pools) >= len(placed.pools):
                return placed
            placed = fewer
        if present is not None and share <= self._blast_share(present):
            return placed
        reason = (
            f"with {len(placed.pools)} pools and k = {self.replicas} one bot takes {share:.1%} of the other bots of "
            f"group {self.key.group!r} with it, the limit is {self._limit:.1%}: more pools or a larger k would help"
        )
        if present is None:
            self.refused += [Refusal(bot.id, reason) for bot in self.bots]
            return None
        self.held = f"family {self.id} stays as it is: {reason}"
        return present

    def _with_small_share(self, present: FamilyPlacement | None, limit: float) -> tuple[FamilyPlacement, float]:
        """A placement in as few pools as the limit allows, counted from those there are, and its worst bot's share."""
        fewest = fewest_pools(len(self.bots), self._others, replicas=self.replicas, limit=limit)
        at_least = max(self._at_least, min(fewest, _MOST_POOLS_FOR_BLAST))
        placed = self._place(present, at_least)
        share = self._blast_share(placed)
        staying = sum(name not in self._leaving for name in present.pools) if present else 0
        at_least = max(at_least, min(staying, _MOST_POOLS_FOR_BLAST))
        while share > limit and fewest <= _MOST_POOLS_FOR_BLAST and at_least <= _MOST_POOLS_FOR_BLAST:
            placed = self._place(present, at_least)
            share = self._blast_share(placed)
            at_least = max(at_least, len(placed.pools)) + max(1, at_least // 8)
        return placed, share

    def _blast_share(self, placed: FamilyPlacement) -> float:
        lost, _ = worst_pools(placed.shards, (bot.hash for bot in self.bots), placed.bits)
        return lost / self._others if self._others else 0.0

    def _place(self, present: FamilyPlacement | None, at_least: int) -> FamilyPlacement:
        """Where the family should be, given where it is, in so many pools at least."""
        least = max(at_least, self._pools_needed(_FILL_RATIO))
        after_shrinking = max(least, self._pools_needed(_SHRINK_FILL_RATIO))
        if present is None:
            placed = self._with_enough_pools(least, None)
        else:
            staying = sum(name not in self._leaving for name in present.pools)
            placed = self._with_enough_pools(max(least, min(staying, after_shrinking)), present)
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
            weights = self._weights(bits)
            staying = tuple(name for name in start.pools if name not in self._leaving) if start else ()
            pools = self._choose_pools(count, staying)
            present = start.split_to(bits).shards if start else None
            shards = assign(weights, bits, pools, present, replicas=self.replicas, capacity=self.capacity)
            if shards is not None:
                return FamilyPlacement(self.id, self.key, bits, pools, shards)
            count += 1

    def _pools_needed(self, fill_ratio: float) -> int:
        total = sum(self._weights(0), Weight())
        by_total = ceil(self.replicas * total.fill_ratio(self.capacity) / fill_ratio)
        # No two bots of more than half a pool share one.
        alone = sum(2 * bot.footprint_bytes > self.capacity.footprint_bytes for bot in self.bots)
        return max(self.replicas, by_total, self.replicas * alone)

    def _weights(self, bits: int) -> list[Weight]:
        return shard_weights(self.bots, bits, self.capacity)

    def _choose_bits(self, pools: int, present_bits: int) -> int:
        enough = max(_MIN_BITS, (pools * _SHARDS_PER_POOL - 1).bit_length())
        bits = max(enough, present_bits)
        while bits < MAX_SHARD_BITS:
            if all(weight.fits(self.capacity) for weight in self._weights(bits)) and (
                bits >= enough + _FINER_BITS or self._is_fine(bits)
            ):
                return bits
            bits += 1
        # With those gone that no splitting separates, coarser shards may do: a million of them is a last resort.
        return self._choose_bits(pools, present_bits) if self._refuse_crowded() else MAX_SHARD_BITS

    def _is_fine(self, bits: int) -> bool:
        """Whether no shard is too heavy to even out with, its heaviest bot aside: splitting spreads the others."""
        good = self.capacity.times(1 / _SHARE_OF_POOL)
        return all(weight.fits(good) for weight in shards_without_heaviest(self.bots, bits, self.capacity))

    def _refuse_crowded(self) -> bool:
        """Refuse bots that the finest shards still leave with more in one shard than a pool holds; whether any was."""
        seated: list[BotLoad] = []
        carried: dict[ShardIndex, Weight] = {}
        for bot in sorted(self.bots, key=lambda bot: (bot.footprint_bytes, bot.id)):
            shard = shard_of(bot.hash, MAX_SHARD_BITS)
            before = carried.get(shard, Weight())
            after = before + weight_of(bot, self.capacity)
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

    def _choose_pools(self, count: int, present: tuple[PoolName, ...]) -> tuple[PoolName, ...]:
        """`count` pools: those present, the latest made leave first, the lowest free ordinals come."""
        kept = set(present)
        chosen: list[PoolName] = []
        free: list[PoolName] = []
        ordinal = 0
        while len(chosen) < count and (kept or len(chosen) + len(free) < count):
            name = pool_name(self.key.group, self.id, ordinal)
            ordinal += 1
            if name in kept:
                kept.discard(name)
                chosen.append(name)
            elif len(free) < count and name not in free and name not in chosen and name not in self._leaving:
                free.append(name)
            if ordinal > _MAX_ORDINAL:
                break  # what is still in `kept` was not named by us; it is left to be drained
        return tuple(sorted(chosen + free[: count - len(chosen)]))
