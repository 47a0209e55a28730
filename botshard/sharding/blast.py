"""How far one bot can reach: which others lose all their pools when every pool of one bot dies.

Bots that share all their pools share their fate, so everything here counts bots by *set of pools*: there are far fewer
sets than bots, and which sets lie within another one is found among its at most fifteen subsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

from botshard.sharding.hashing import HASH_BITS, family_id
from botshard.sharding.ids import BotId, FamilyId, GroupName, PoolName

if TYPE_CHECKING:
    from botshard.sharding.catalog import FamilyKey
    from botshard.sharding.fleet import BotLoad
    from botshard.sharding.placement import Placement

__all__ = ["BlastRadius", "blast_radius", "fewest_pools", "worst_by_group", "worst_pools"]

Shards = Sequence[tuple[PoolName, ...]]


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """What the worst bot of a family takes with it when all its pools die."""

    group: GroupName
    family: FamilyId
    bot: BotId | None
    """One that does the worst; None where the family has no bots."""
    pools: tuple[PoolName, ...]
    """Its pools, sorted."""
    lost: int
    """Other bots that lose all their pools with it."""
    others: int
    """Bots of the group besides it, of all families."""

    @property
    def share(self) -> float:
        """The share of the group's other bots that loses all its pools."""
        return self.lost / self.others if self.others else 0.0


def blast_radius(placement: Placement, bots: Iterable[BotLoad], /) -> dict[FamilyId, BlastRadius]:
    """The worst of each family. Bots that are refused or that the placement has no family for count nowhere.

    Cost: O(bots + shards · 2^k).
    """
    refused = {refusal.bot for refusal in placement.refused}
    by_family: dict[FamilyKey, list[BotLoad]] = {family.key: [] for family in placement.families.values()}
    for bot in bots:
        mine = by_family.get(bot.key)
        if mine is not None and bot.id not in refused:
            mine.append(bot)
    totals: dict[GroupName, int] = {}
    for key, mine in by_family.items():
        totals[key.group] = totals.get(key.group, 0) + len(mine)
    worst = {}
    for key, mine in by_family.items():
        family = placement.families[family_id(key)]
        shift = HASH_BITS - family.bits
        counts = [0] * len(family.shards)
        for bot in mine:
            counts[bot.hash >> shift] += 1
        lost, pools = worst_pools(family.shards, counts)
        bad = {shard for shard, names in enumerate(family.shards) if set(names) == set(pools)}
        example = min((bot.id for bot in mine if bot.hash >> shift in bad), default=None)
        others = max(0, totals[key.group] - 1)
        worst[family.id] = BlastRadius(key.group, family.id, example, pools, lost, others)
    return worst


def worst_by_group(families: Mapping[FamilyId, BlastRadius], /) -> dict[GroupName, BlastRadius]:
    """The worst of each group."""
    worst: dict[GroupName, BlastRadius] = {}
    for radius in sorted(families.values(), key=lambda radius: (-radius.share, radius.family)):
        worst.setdefault(radius.group, radius)
    return worst


def worst_pools(shards: Shards, counts: Sequence[int], /) -> tuple[int, tuple[PoolName, ...]]:
    """How many other bots of one family lose all their pools with the worst bot, and that bot's pools, sorted.

    Args:
        shards: pools of each shard.
        counts: bots in each shard.
    """
    by_pools: dict[tuple[PoolName, ...], int] = {}
    for names, count in zip(shards, counts, strict=True):
        if count:
            pools = tuple(sorted(names))
            by_pools[pools] = by_pools.get(pools, 0) + count
    worst: tuple[int, tuple[PoolName, ...]] = (0, ())
    for pools in sorted(by_pools):
        within = (subset for size in range(1, len(pools) + 1) for subset in combinations(pools, size))
        lost = sum(by_pools.get(subset, 0) for subset in within) - 1
        if not worst[1] or lost > worst[0]:
            worst = lost, pools
    return worst


def fewest_pools(bots: int, others: int, /, *, replicas: int, limit: float) -> int:
    """Pools without which no placement of a family keeps the limit: some set of pools holds at least its mean share.

    Args:
        bots: of the family.
        others: bots of the group besides one.
        replicas: in how many pools each lives.
        limit: the group's.
    """
    together = max(1, int(limit * others) + 1)
    """Bots that may share all their pools."""
    pools = replicas
    while comb(pools, replicas) * together < bots:
        pools += 1
    return pools
