"""What it costs to know where a bot is: `python -m benchmarks.lookup [--json FILE]`.

20,000 bots in four families, 16 pools a family, 256 shards a family with two pools each. Figures are microseconds of
CPU for one call, the median of rounds; the peer is a plain dictionary from bot to pools, which is what a lookup service
would hold and what no way of computing a place can be faster than. Besides: the choice between a bot's two pools, and
what a try tells its pool.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from benchmarks.report import Row, parser, publish
from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.hashing import bot_hash, family_id, pool_name, rank_pools
from botshard.sharding.ids import (
    BotId,
    Epoch,
    FamilyId,
    Framework,
    GroupName,
    PoolName,
    ShardIndex,
    TenantId,
    VersionNumber,
)
from botshard.sharding.routing import FamilyRoutes, GroupRoute, PoolRoute, RoutingTable
from router.choosing import Choosing
from router.limits import Limits
from router.pools import Pools, PoolState
from router.probing import knock
from router.table import Routes, hash_of

Item = TypeVar("Item")

_BOTS = 20_000
_BITS = 8
_POOLS = 16
_REPLICAS = 2
_ROUNDS = 15


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("What it costs to know where a bot is").parse_args()
    return publish(asyncio.run(_measure()), options.json)


async def _measure() -> list[Row]:
    keys = [
        FamilyKey(GroupName(group), Framework(framework))
        for group in ("realtime", "batch")
        for framework in ("torch", "tensorflow")
    ]
    table = _table(keys)
    routes = _routes(table, keys)
    names = list(routes.bots)
    found = {name: route for name in names if (route := routes.find(name)) is not None}
    pairs = [(routes.served.of(route).family, name) for name, route in found.items()]
    hashed = [(routes.served.of(route).family, hash_of(route)) for route in found.values()]
    directory: dict[str, object] = {name: routes.pools(route) for name, route in found.items()}

    loop = _per_call_us(pairs, _nothing)
    by_id = _per_call_us(pairs, _from_id(table)) - loop
    by_hash = _per_call_us(hashed, _from_hash(table)) - loop
    in_router = _per_call_us(names, _in_router(routes)) - loop
    plain = _per_call_us(names, _in_directory(directory)) - loop
    peers = {"dict": plain}
    pools = Pools(Limits())
    pools.follow(table.pools)
    choosing = Choosing(routes, pools, knock=knock, max_cold_waiting=1)
    routed = [routes.pools(route) for route in found.values()]
    choice = _per_call_us(routed, _choosing(choosing)) - loop
    one_try = _per_call_us(list(pools) * 500, _trying) - loop
    return [
        Row("lookup from the id, µs", by_id, peers, by_id / plain, "≤ 1.5", ok=by_id <= 1.5),
        Row("lookup with the hash kept, µs", by_hash, peers, by_hash / plain, "≤ 0.3", ok=by_hash <= 0.3),
        Row("router: catalog entry and lookup, µs", in_router, peers, in_router / plain),
        Row("router: choice between two pools, µs", choice, peers, choice / plain, "≤ 1", ok=choice <= 1.0),
        Row("router: a try's beginning and end, µs", one_try, peers, one_try / plain),
    ]


def _table(keys: Sequence[FamilyKey]) -> RoutingTable:
    families: dict[FamilyId, FamilyRoutes] = {}
    for key in keys:
        family = family_id(key)
        pools = [pool_name(key.group, family, ordinal) for ordinal in range(_POOLS)]
        shards = tuple(rank_pools(ShardIndex(shard), _BITS, pools)[:_REPLICAS] for shard in range(1 << _BITS))
        urls = {pool: f"http://{pool}.example" for pool in pools}
        families[family] = FamilyRoutes(family, key, _BITS, urls, shards)
    groups = {key.group: GroupRoute(True, 10.0, 30.0) for key in keys}
    return RoutingTable(Epoch(1), groups, families)


def _routes(table: RoutingTable, keys: Sequence[FamilyKey]) -> Routes:
    routes = Routes()
    routes.table = table
    kept = {}
    for number in range(_BOTS):
        name = BotId(f"customer-{number:05d}.intents")
        version = Version(VersionNumber(1), f"{number:064x}", 1_000_000, keys[number % len(keys)], 0)
        kept[name] = routes.served.keep(Bot(name, TenantId("tenant"), (version,)), bot_hash(name))
    routes.bots = routes.bots.with_changes(kept)
    return routes


def _nothing(items: Sequence[tuple[FamilyId, str]]) -> None:
    for _family, _name in items:
        pass


def _from_id(table: RoutingTable) -> Callable[[Sequence[tuple[FamilyId, str]]], None]:
    def run(items: Sequence[tuple[FamilyId, str]]) -> None:
        lookup, hashing = table.lookup, bot_hash
        for family, name in items:
            lookup(family, hashing(name))

    return run


def _from_hash(table: RoutingTable) -> Callable[[Sequence[tuple[FamilyId, int]]], None]:
    def run(items: Sequence[tuple[FamilyId, int]]) -> None:
        lookup = table.lookup
        for family, hash_of_bot in items:
            lookup(family, hash_of_bot)

    return run


def _in_router(routes: Routes) -> Callable[[Sequence[str]], None]:
    def run(items: Sequence[str]) -> None:
        find, pools = routes.find, routes.pools
        for name in items:
            route = find(name)
            if route is not None:
                pools(route)

    return run


def _choosing(choosing: Choosing) -> Callable[[Sequence[tuple[PoolRoute, ...]]], None]:
    def run(items: Sequence[tuple[PoolRoute, ...]]) -> None:
        choose, failed = choosing.choose, dict[PoolName, int]()
        for routed in items:
            choose("a-bot", routed, failed)

    return run


def _trying(items: Sequence[PoolState]) -> None:
    for pool in items:
        pool.began()
        pool.ended(True, 0.001, 1.0)


def _in_directory(directory: Mapping[str, object]) -> Callable[[Sequence[str]], None]:
    def run(items: Sequence[str]) -> None:
        get = directory.get
        for name in items:
            get(name)

    return run


def _per_call_us(items: Sequence[Item], run: Callable[[Sequence[Item]], None]) -> float:
    rounds = []
    for _ in range(_ROUNDS):
        started_s = time.thread_time()
        run(items)
        rounds.append((time.thread_time() - started_s) / len(items) * 1e6)
    return statistics.median(rounds)


if __name__ == "__main__":
    sys.exit(main())
