"""Where each shard goes: as many pools as the bots need, each shard in the first of its own order that have room.

For each family on its own: bots are weighed by shard, in bytes, bots and requests a second; there are as many pools as
the fullest dimension needs; `assignment` gives each shard its pools. Number of pools and of shards are chosen here.

A placement of its own result is that result: what is good enough is not touched. Every change begins with one of these:
a pool over capacity, a pool that is to be left, fewer pools than needed, another k, a limit that is broken, or so many
pools that the rest would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from botshard.sharding.assignment import Overflow, Shards, assign
from botshard.sharding.blast import fewest_pools, worst_pools
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.errors import CallerError
from botshard.sharding.fleet import Snapshot
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.hashing import MAX_SHARD_BITS, family_id, pool_name, shard_of
from botshard.sharding.ids import BotId, FamilyId, GroupName, PoolName, ShardIndex
from botshard.sharding.loads import BotLoads, FamilyLoads, WeighedBots
from botshard.sharding.reloads import UNKNOWN_RATES, pools_for_reloads
from botshard.sharding.routing import FamilyRoutes
from botshard.sharding.units import format_bytes
from botshard.sharding.weights import NOTHING, Weight, weight_of

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
    shards: Shards

    @classmethod
    def of_routes(cls, routes: FamilyRoutes) -> FamilyPlacement:
        """Where the shards of a published table are or, if they are on their way, will be."""
        shards = routes.shards
        if routes.targets:
            moved = list(shards)
            for index, target in routes.targets.items():
                moved[index] = target.pools
            shards = tuple(moved)
        placed = {name for pools in shards for name in pools}
        return cls(routes.id, routes.key, routes.bits, tuple(n for n in sorted(routes.urls) if n in placed), shards)

    def split_to(self, bits: int) -> FamilyPlacement:
        """The same placement said with more bits: both halves of a shard are where it is."""
        if bits < self.bits:
            raise CallerError(f"family {self.id}: shards are never joined ({self.bits} bits to {bits})")
        if bits == self.bits:
            return self
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

    Cost: O(shards · k) a family where nothing must change and `snapshot.bots` are `BotLoads`, which keep their sums;
    O(bots + shards · pools log pools) for a first placement.
    """
    loads = BotLoads.of(snapshot.bots).families
    refused: list[Refusal] = []
    families: dict[FamilyId, FamilyPlacement] = {}
    held: dict[FamilyId, str] = {}
    others = _others_in_group(loads, snapshot.groups)
    for key in sorted(loads, key=lambda key: (key.group, key.framework, key.backbone or "", key.pin or "")):
        name, group = family_id(key), snapshot.groups.get(key.group)
        if group is None:
            reason = f"its pool group {key.group!r} does not exist"
            refused += [Refusal(bot, reason) for bot in sorted(loads[key].bots)]
            continue
        bots = loads[key].weighed_for(group)
        refused += [_oversized(loads[key], bot, group) for bot in sorted(bots.oversized)]
        routes = snapshot.table.families.get(name) if snapshot.table else None
        present = FamilyPlacement.of_routes(routes) if routes else None
        if not bots.total.bots and (present is None or present.key != key):
            continue
        holder = families.get(name, present)
        if holder is not None and holder.key != key:
            reason = f"the id of its family, {name}, is that of {holder.key} already: give it another pin or backbone"
            refused += [Refusal(bot, reason) for bot in sorted(bot.id for bot in bots.fitting())]
            continue
        family = _Family(key, snapshot, bots, others=others[key.group])
        placed = family.place(present)
        refused += family.refused
        if placed is not None:
            families[name] = placed
        if family.held is not None:
            held[name] = family.held
    return Placement(families, tuple(refused), held)


def _others_in_group(
    loads: Mapping[FamilyKey, FamilyLoads], groups: Mapping[GroupName, PoolGroupSpec]
) -> dict[GroupName, int]:
    """How many bots that can be placed each group has besides any one of them."""
    others: dict[GroupName, int] = {}
    for key, family in loads.items():
        if key.group in groups:
            bots = int(family.weighed_for(groups[key.group]).total.bots)
            others[key.group] = others.get(key.group, -1) + bots
    return others


def _oversized(family: FamilyLoads, bot: BotId, group: PoolGroupSpec) -> Refusal:
    needed, available = format_bytes(family.bots[bot].footprint_bytes), format_bytes(group.pool_memory_bytes)
    return Refusal(bot, f"it needs {needed}, a pool of group {group.name!r} has {available}")


class _Family:
    """One family's bots on their way to pools. Lives for one call of `place`."""

    def __init__(self, key: FamilyKey, snapshot: Snapshot, bots: WeighedBots, *, others: int) -> None:
        group = snapshot.groups[key.group]
        self.key = key
        self.id = family_id(key)
        self.replicas = group.shard_replicas
        self.bots = bots
        self.refused: list[Refusal] = []
        self.held: str | None = None
        self._leaving = snapshot.leaving
        self._at_least = max(group.shard_replicas, snapshot.more_pools.get(self.id, 0))
        self._limit = group.blast_radius_limit
        self._group = group
        self._reloads = snapshot.reloads.get(self.id, UNKNOWN_RATES)
        self._others = others

    def place(self, present: FamilyPlacement | None) -> FamilyPlacement | None:
        """Where the family should be, given where it is, within its group's limit on the blast radius.

        What would break the limit, and is no better than what is, is not done: `held` says why, and a family that is
        not placed yet is refused.
        """
        self._at_least = max(self._at_least, self._pools_for_reloads(present))
        while True:
            placed = self._grown(present)
            if self._limit is None or self._keeps_limit(placed):
                return self._shrunk(present, placed)
            share = self._blast_share(placed)
            if present is None or share >= self._blast_share(present):
                break
            present = placed
        reason = (
            f"with {len(placed.pools)} pools and k = {self.replicas} one bot takes {share:.1%} of the other bots of "
            f"group {self.key.group!r} with it, the limit is {self._limit:.1%}: more pools or a larger k would help"
        )
        if present is None:
            self.refused += [Refusal(bot, reason) for bot in sorted(bot.id for bot in self.bots.fitting())]
            return None
        self.held = f"family {self.id} stays as it is: {reason}"
        return present

    def _grown(self, present: FamilyPlacement | None) -> FamilyPlacement:
        """A placement in as many pools as are needed, never in fewer than stay."""
        count = max(self._at_least, self._pools_needed(_FILL_RATIO), len(self._staying(present)))
        fewest = count
        if self._limit is not None:
            fewest = fewest_pools(int(self.bots.total.bots), self._others, replicas=self.replicas, limit=self._limit)
            count = max(count, min(fewest, _MOST_POOLS_FOR_BLAST))
        while True:
            placed = self._with_enough_pools(count, present)
            if self._keeps_limit(placed):
                return placed
            count = max(count, len(placed.pools))
            count += max(1, count // 3)
            if max(fewest, count) > _MOST_POOLS_FOR_BLAST:
                return placed

    def _shrunk(self, present: FamilyPlacement | None, placed: FamilyPlacement) -> FamilyPlacement:
        """A placement in fewer pools, where many less would do; else the same.

        From where the bots are, that is least to move; and from `placed` too, since the next call would try that.
        Where no bot fits any more, a bound has become too small: its pools serve what they hold until that is mended.
        """
        if not self.bots.total.bots:
            return placed
        starts = [placed] if present is None or present is placed else [present, placed]
        enough = max(self._at_least, self._pools_needed(_SHRINK_FILL_RATIO))
        while len(placed.pools) > enough:
            counts = dict.fromkeys((enough, len(placed.pools) - 1))
            fewer = next(
                (found for start in starts for count in counts if (found := self._in_pools(count, start))), None
            )
            if fewer is None:
                break
            placed, starts = fewer, [fewer]
        return placed

    def _staying(self, present: FamilyPlacement | None) -> tuple[PoolName, ...]:
        """Pools that the family has and is to keep."""
        return tuple(name for name in present.pools if name not in self._leaving) if present else ()

    def _keeps_limit(self, placed: FamilyPlacement) -> bool:
        return self._limit is None or self._blast_share(placed) <= self._limit

    def _blast_share(self, placed: FamilyPlacement) -> float:
        if not self._others:
            return 0.0
        counts = [int(weight.bots) for weight in self.bots.shards(placed.bits)]
        return worst_pools(placed.shards, counts)[0] / self._others

    def _with_enough_pools(self, count: int, start: FamilyPlacement | None) -> FamilyPlacement:
        """A placement in `count` pools, or in as many more as it takes."""
        bits = start.bits if start else 0
        is_same = start is not None and count == len(self._staying(start))
        while True:
            bits = self._choose_bits(count, bits, must_be_fine=not is_same)
            placed = self._try(count, bits, start)
            if isinstance(placed, FamilyPlacement):
                return placed
            if bits < min(_enough_bits(count) + _FINER_BITS, MAX_SHARD_BITS) and not self._is_fine(bits):
                bits += 1
            else:
                count += max(1, int(placed.fill_ratio(self.bots.capacity)))
                is_same = False

    def _in_pools(self, count: int, start: FamilyPlacement) -> FamilyPlacement | None:
        """A placement in exactly `count` pools; None where none is found, or none within the limit."""
        placed = self._try(count, self._choose_bits(count, start.bits), start)
        return placed if isinstance(placed, FamilyPlacement) and self._keeps_limit(placed) else None

    def _try(self, count: int, bits: int, start: FamilyPlacement | None) -> FamilyPlacement | Overflow:
        pools = self._choose_pools(count, self._staying(start))
        present = start.split_to(bits).shards if start else None
        weights, capacity = self.bots.shards(bits), self.bots.capacity
        shards = assign(weights, bits, pools, present, replicas=self.replicas, capacity=capacity)
        if isinstance(shards, Overflow):
            return shards
        if start is not None and shards is start.shards and pools == start.pools:
            return start
        return FamilyPlacement(self.id, self.key, bits, pools, shards)

    def _pools_needed(self, fill_ratio: float) -> int:
        by_total = ceil(self.replicas * self.bots.total.fill_ratio(self.bots.capacity) / fill_ratio)
        return max(self.replicas, by_total, self.replicas * self.bots.big)

    def _pools_for_reloads(self, present: FamilyPlacement | None) -> int:
        all_bytes = self.replicas * self.bots.total.footprint_bytes
        most = max(self.replicas, ceil(all_bytes / self._group.pool_memory_bytes / _FILL_RATIO))
        return pools_for_reloads(self._reloads, self._group, present=len(self._staying(present)), most=most)

    def _choose_bits(self, pools: int, present_bits: int, *, must_be_fine: bool = False) -> int:
        enough = _enough_bits(pools)
        bits = max(enough, present_bits)
        while bits < MAX_SHARD_BITS:
            fits = all(weight.fits(self.bots.capacity) for weight in self.bots.shards(bits))
            if fits and (not must_be_fine or bits >= enough + _FINER_BITS or self._is_fine(bits)):
                return bits
            bits += 1
        # With those gone that no splitting separates, coarser shards may do: a million of them is a last resort.
        if self._refuse_crowded():
            return self._choose_bits(pools, present_bits, must_be_fine=must_be_fine)
        return MAX_SHARD_BITS

    def _is_fine(self, bits: int) -> bool:
        """Whether no shard is too heavy to even out with, its heaviest bot aside: splitting spreads the others."""
        good = self.bots.capacity.times(1 / _SHARE_OF_POOL)
        if all(weight.fits(good) for weight in self.bots.shards(bits)):
            return True
        return all(weight.fits(good) for weight in self.bots.shards_without_heaviest(bits))

    def _refuse_crowded(self) -> bool:
        """Refuse bots that the finest shards still leave with more in one shard than a pool holds; whether any was."""
        capacity = self.bots.capacity
        crowded: set[BotId] = set()
        carried: dict[ShardIndex, Weight] = {}
        for bot in sorted(self.bots.fitting(), key=lambda bot: (bot.footprint_bytes, bot.id)):
            shard = shard_of(bot.hash, MAX_SHARD_BITS)
            before = carried.get(shard, NOTHING)
            after = before + weight_of(bot, capacity)
            if after.fits(capacity):
                carried[shard] = after
                continue
            needed, pool = format_bytes(int(after.footprint_bytes)), format_bytes(int(capacity.footprint_bytes))
            reason = (
                f"it and {before.bots} whose hashes begin like its own need {needed}, a pool has {pool} and room "
                f"for {capacity.bots} bots: give it a pin"
            )
            self.refused.append(Refusal(bot.id, reason))
            crowded.add(bot.id)
        if crowded:
            self.bots = self.bots.without(crowded)
        return bool(crowded)

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


def _enough_bits(pools: int) -> int:
    return min(MAX_SHARD_BITS, max(_MIN_BITS, (pools * _SHARDS_PER_POOL - 1).bit_length()))
