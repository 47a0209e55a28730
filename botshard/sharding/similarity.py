"""What families save: bots that share big files stand in the same pools, so each pool holds such a file once.

The peer is plain hashing of the same bots over as many pools: every pool gets some of every family, and each of them
holds the family's files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from botshard.sharding.hashing import HASH_BITS, bot_hash
from botshard.sharding.ids import BotId, Framework, GroupName, PoolName
from botshard.sharding.routing import FamilyRoutes

__all__ = ["BotFiles", "Similarity", "compare_with_plain_hashing"]

BotFiles = Mapping[BotId, Mapping[str, int]]
"""For each bot the files of the version it serves: digest → bytes."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """All families of one group and framework: what could stand in the same pools."""

    group: GroupName
    framework: Framework
    families: int
    bots: int
    pools: int
    distinct_bytes: int
    """Of all files, each counted once: what one pool for everything would hold."""
    pool_bytes: int
    """Of the files of each pool's bots, each counted once a pool."""
    plain_pool_bytes: int
    """The same with the bots spread over as many pools by their hash alone."""

    @property
    def saved_bytes(self) -> int:
        """What plain hashing would hold more."""
        return self.plain_pool_bytes - self.pool_bytes


@dataclass(slots=True)
class _Sums:
    families: int = 0
    bots: int = 0
    pools: set[PoolName] = field(default_factory=set)
    replicas: int = 1
    sizes: dict[str, int] = field(default_factory=dict)
    held: set[tuple[PoolName, str]] = field(default_factory=set)
    members: list[BotId] = field(default_factory=list)


def compare_with_plain_hashing(families: Mapping[BotId, FamilyRoutes], files: BotFiles, /) -> tuple[Similarity, ...]:
    """The comparison for each group and framework, sorted by these.

    Args:
        families: of each bot, the routes of its family; only routed pools count.
        files: of the same bots; one that is missing has none.

    Cost: O(bots · files · k).
    """
    sums: dict[tuple[GroupName, Framework], _Sums] = {}
    for routes in {routes.id: routes for routes in families.values()}.values():
        mine = sums.setdefault((routes.key.group, routes.key.framework), _Sums())
        mine.families += 1
        mine.pools.update(name for names in routes.shards for name in names)
        mine.replicas = max(mine.replicas, *(len(names) for names in routes.shards))
    for bot, routes in families.items():
        mine = sums[routes.key.group, routes.key.framework]
        mine.members.append(bot)
        named = files.get(bot, {})
        mine.sizes.update(named)
        pools = routes.shards[bot_hash(bot) >> (HASH_BITS - routes.bits)]
        mine.held.update((pool, digest) for pool in pools for digest in named)
    return tuple(_similarity(key, sums[key], files) for key in sorted(sums))


def _similarity(key: tuple[GroupName, Framework], sums: _Sums, files: BotFiles) -> Similarity:
    plain: set[tuple[int, str]] = set()
    count = len(sums.pools)
    for bot in sums.members:
        first = bot_hash(bot) % count
        places = [(first + step) % count for step in range(min(sums.replicas, count))]
        plain.update((place, digest) for place in places for digest in files.get(bot, {}))
    return Similarity(
        group=key[0],
        framework=key[1],
        families=sums.families,
        bots=len(sums.members),
        pools=count,
        distinct_bytes=sum(sums.sizes.values()),
        pool_bytes=_bytes(sums.held, sums.sizes),
        plain_pool_bytes=_bytes(plain, sums.sizes),
    )


def _bytes(held: Iterable[tuple[object, str]], sizes: Mapping[str, int]) -> int:
    return sum(sizes[digest] for _, digest in held)
