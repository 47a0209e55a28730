"""What a placement would mean, in numbers, before anything is done: moves, balance, blast radius, warming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from botshard.sharding.blast import BlastRadius, blast_radius
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import BotLoad, Snapshot
from botshard.sharding.hashing import HASH_BITS
from botshard.sharding.ids import BotId, FamilyId, PoolName, ShardIndex
from botshard.sharding.placement import FamilyPlacement, Placement

__all__ = ["LOADERS_PER_REPLICA", "FamilyPreview", "Move", "Preview", "preview"]

LOADERS_PER_REPLICA = 2
"""Bots that a replica loads at the same time while it warms."""


@dataclass(frozen=True, slots=True)
class Move:
    """A shard that changes its pools, and what it carries."""

    family: FamilyId
    shard: ShardIndex
    """Counted with the bits of the family as it will be."""
    leaves: tuple[PoolName, ...]
    comes_to: tuple[PoolName, ...]
    bots: int
    bytes: int
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class FamilyPreview:
    """One family before and after. Ratios are None where there is nothing to divide by."""

    id: FamilyId
    key: FamilyKey
    bots: int
    pools_before: int
    pools_after: int
    pools_added: tuple[PoolName, ...]
    pools_removed: tuple[PoolName, ...]
    busiest_bytes_before: float | None
    """Bytes of the fullest pool against the mean of all."""
    busiest_bytes_after: float | None
    busiest_rate_before: float | None
    """Requests a second of the busiest pool against the mean of all."""
    busiest_rate_after: float | None
    blast_before: BlastRadius | None
    blast_after: BlastRadius | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What changes on the way from the table to a placement."""

    families: tuple[FamilyPreview, ...]
    moves: tuple[Move, ...]
    bots_moved_ratio: float
    """Copies of bots that get a pool that they are not in, against all copies (a bot has k); families that are new
    count nowhere, since nobody is served by them yet."""
    traffic_moved_ratio: float
    """The same, every copy weighed with its bot's requests a second."""
    ideal_ratio: float
    """What must move at the least for an even result, as a share of all copies. A family that goes from n pools to m,
    a of them new, must fill those with a/m of its copies, and must find a place for every copy that stands in a pool
    that goes, or that a larger k adds: the larger of the two numbers."""
    warm_bytes: int
    """Footprint that pools of realtime groups load before requests go there."""
    on_demand_bytes: int
    """Footprint that pools of other groups load when it is asked for."""
    warm_s: float | None
    """Estimate of the slowest pool's warming, seconds; None where something warms and no load time is known."""


@dataclass(slots=True)
class _Carried:
    """What each shard of one family carries."""

    bots: list[int]
    bytes: list[int]
    rate_per_s: list[float]
    load_s: list[float]

    @classmethod
    def of(cls, mine: Iterable[BotLoad], bits: int, load_s: Mapping[BotId, float], unknown_s: float) -> _Carried:
        size = 1 << bits
        carried = cls([0] * size, [0] * size, [0.0] * size, [0.0] * size)
        shift = HASH_BITS - bits
        for bot in mine:
            shard = bot.hash >> shift
            carried.bots[shard] += 1
            carried.bytes[shard] += bot.footprint_bytes
            carried.rate_per_s[shard] += bot.rate_per_s
            carried.load_s[shard] += load_s.get(bot.id, unknown_s)
        return carried


def preview(snapshot: Snapshot, wanted: Placement, /, *, load_s: Mapping[BotId, float]) -> Preview:
    """What `wanted` changes of what is published (or on its way already).

    Args:
        snapshot: what is; only table, bots and groups are read.
        wanted: what should be.
        load_s: how long bots took to load, where that was measured; others are taken to need the mean.

    Cost: O(bots + shards · k).
    """
    table = snapshot.table.families if snapshot.table else {}
    present = Placement({name: FamilyPlacement.of_routes(routes) for name, routes in table.items()})
    blast_before, blast_after = blast_radius(present, snapshot.bots), blast_radius(wanted, snapshot.bots)
    refused = {refusal.bot for refusal in wanted.refused}
    by_key: dict[FamilyKey, list[BotLoad]] = {}
    for bot in snapshot.bots:
        if bot.id not in refused:
            by_key.setdefault(bot.key, []).append(bot)
    unknown_s = sum(load_s.values()) / len(load_s) if load_s else 0.0
    total = _Total()
    families, moves = [], []
    for name in sorted(present.families.keys() | wanted.families.keys()):
        before, after = present.families.get(name), wanted.families.get(name)
        key = (after or present.families[name]).key
        bits = max(family.bits for family in (before, after) if family is not None)
        mine = by_key.get(key, [])
        carried = _Carried.of(mine, bits, load_s, unknown_s)
        before, after = (before and before.split_to(bits)), (after and after.split_to(bits))
        families.append(_family(name, key, before, after, carried, (blast_before.get(name), blast_after.get(name))))
        if after is not None:
            moves += total.add(before, after, carried, is_warmed=snapshot.groups[key.group].realtime)
    return total.preview(tuple(families), tuple(moves), knows_load_s=bool(load_s))


def _family(
    name: FamilyId,
    key: FamilyKey,
    before: FamilyPlacement | None,
    after: FamilyPlacement | None,
    carried: _Carried,
    blast: tuple[BlastRadius | None, BlastRadius | None],
) -> FamilyPreview:
    old, new = set(before.pools if before else ()), set(after.pools if after else ())
    return FamilyPreview(
        id=name,
        key=key,
        bots=sum(carried.bots),
        pools_before=len(old),
        pools_after=len(new),
        pools_added=tuple(sorted(new - old)),
        pools_removed=tuple(sorted(old - new)),
        busiest_bytes_before=_busiest(before, carried.bytes),
        busiest_bytes_after=_busiest(after, carried.bytes),
        busiest_rate_before=_busiest(before, carried.rate_per_s),
        busiest_rate_after=_busiest(after, carried.rate_per_s),
        blast_before=blast[0],
        blast_after=blast[1],
    )


def _busiest(family: FamilyPlacement | None, carried: list[int] | list[float]) -> float | None:
    """What the pool with most carries against the mean of all."""
    if family is None:
        return None
    pools: dict[PoolName, float] = dict.fromkeys(family.pools, 0.0)
    for names, weight in zip(family.shards, carried, strict=True):
        for name in names:
            pools[name] += weight
    mean = sum(pools.values()) / len(pools)
    return max(pools.values()) / mean if mean else None


class _Total:
    """Sums over families on their way to a preview. Lives for one call of it."""

    def __init__(self) -> None:
        self._copies = self._copies_moved = 0
        self._rate_per_s = self._rate_moved_per_s = 0.0
        self._ideal_copies = 0.0
        self._warm_bytes = self._on_demand_bytes = 0
        self._warm_s: dict[PoolName, float] = {}

    def add(
        self, before: FamilyPlacement | None, after: FamilyPlacement, carried: _Carried, *, is_warmed: bool
    ) -> list[Move]:
        """Count one family, both placements said with the same bits; its moves."""
        moves = []
        copies_before = copies_gone = 0
        staying = set(after.pools)
        for index, comes in enumerate(after.shards):
            was = before.shards[index] if before else ()
            bots = carried.bots[index]
            new = tuple(name for name in comes if name not in was)
            left = tuple(name for name in was if name not in comes)
            if new:
                self._load(new, carried, index, is_warmed=is_warmed and before is not None)
            if before is None:
                continue
            copies_before += bots * len(was)
            copies_gone += bots * sum(name not in staying for name in was)
            self._copies += bots * len(comes)
            self._copies_moved += bots * len(new)
            self._rate_per_s += carried.rate_per_s[index] * len(comes)
            self._rate_moved_per_s += carried.rate_per_s[index] * len(new)
            if new or left:
                carries = bots, carried.bytes[index], carried.rate_per_s[index]
                moves.append(Move(after.id, ShardIndex(index), left, new, *carries))
        if before is not None:
            copies = sum(bots * len(names) for bots, names in zip(carried.bots, after.shards, strict=True))
            to_fill = copies * len(staying.difference(before.pools)) / len(staying)
            self._ideal_copies += max(to_fill, copies - copies_before + copies_gone)
        return moves

    def _load(self, new: tuple[PoolName, ...], carried: _Carried, shard: int, *, is_warmed: bool) -> None:
        if not is_warmed:
            self._on_demand_bytes += carried.bytes[shard] * len(new)
            return
        self._warm_bytes += carried.bytes[shard] * len(new)
        for name in new:
            self._warm_s[name] = self._warm_s.get(name, 0.0) + carried.load_s[shard] / LOADERS_PER_REPLICA

    def preview(self, families: tuple[FamilyPreview, ...], moves: tuple[Move, ...], *, knows_load_s: bool) -> Preview:
        """The result."""
        return Preview(
            families=families,
            moves=moves,
            bots_moved_ratio=self._copies_moved / self._copies if self._copies else 0.0,
            traffic_moved_ratio=self._rate_moved_per_s / self._rate_per_s if self._rate_per_s else 0.0,
            ideal_ratio=self._ideal_copies / self._copies if self._copies else 0.0,
            warm_bytes=self._warm_bytes,
            on_demand_bytes=self._on_demand_bytes,
            warm_s=max(self._warm_s.values(), default=0.0) if knows_load_s or not self._warm_bytes else None,
        )
