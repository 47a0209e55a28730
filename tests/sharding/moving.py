"""A fleet whose shards are told to move, without a placement that decides which."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import BotLoad, PoolPhase, PoolStatus, Snapshot
from botshard.sharding.hashing import bot_hash, family_id, shard_of
from botshard.sharding.ids import BotId, Epoch, PoolName, ShardIndex
from botshard.sharding.invariants import check_step, check_table
from botshard.sharding.placement import FamilyPlacement, Placement
from botshard.sharding.plan import Plan, plan
from botshard.sharding.routing import FamilyRoutes
from tests.sharding.building import TORCH, group, published, snapshot, url_of, with_ready_pools

A, B, C, D = (PoolName(f"pool-{letter}") for letter in "abcd")
BITS = 2
SHARDS = 1 << BITS
NOW_S, GRACE_S = 1000.0, 10.0

Rows = tuple[tuple[PoolName, ...], ...]


def bots_of(
    counts: Mapping[int, int], *, rates: Mapping[int, float] | None = None, key: FamilyKey = TORCH
) -> list[BotLoad]:
    """So many bots in each shard; each of them as busy as is said for its shard."""
    return [
        BotLoad(name, bot_hash(name), key, 1000, (rates or {}).get(shard, 0.0))
        for shard, count in counts.items()
        for name in bots_in(shard, count)
    ]


def bots_in(shard: int, count: int) -> list[BotId]:
    """Names of bots that hash into a shard."""
    names = (f"bot-{number}" for number in itertools.count())
    return list(itertools.islice((BotId(name) for name in names if shard_of(bot_hash(name), BITS) == shard), count))


def placed(rows: Rows, key: FamilyKey = TORCH) -> Placement:
    """A placement of one family."""
    name = family_id(key)
    pools = tuple(sorted({pool for row in rows for pool in row}))
    return Placement({name: FamilyPlacement(name, key, BITS, pools, rows)})


def fleet(rows: Rows, bots: list[BotLoad], key: FamilyKey = TORCH) -> Snapshot:
    """Bots of one family that live where `rows` says; every pool is warm."""
    seen = snapshot(bots, group(key.group))
    return with_ready_pools(replace(seen, table=published(placed(rows, key), seen)))


def step(seen: Snapshot, wanted: Placement, *, budget_bots: int = 200, now_s: float = NOW_S) -> Plan:
    """The next step."""
    return plan(seen, wanted, now_s=now_s, grace_s=GRACE_S, budget_bots=budget_bots)


def after(seen: Snapshot, done: Plan) -> Snapshot:
    """The snapshot when a step is carried out, if it has a table; it broke no promise."""
    if done.table is None:
        return seen
    assert seen.table is not None
    assert check_table(done.table) == []
    assert check_step(seen.table, done.table, seen.quarantined) == []
    return replace(seen, table=done.table)


def with_pools(seen: Snapshot, *names: PoolName) -> Snapshot:
    """The snapshot with more pools, which are up and hold nothing."""
    return replace(
        seen, pools={**seen.pools, **{name: PoolStatus(name, url_of(name), PoolPhase.READY) for name in names}}
    )


def warm(seen: Snapshot, *names: PoolName) -> Snapshot:
    """The snapshot when these pools hold what the table gives them."""
    assert seen.table is not None
    return replace(seen, warmed={**seen.warmed, **dict.fromkeys(names, seen.table.epoch)})


def routes_of(seen: Snapshot) -> FamilyRoutes:
    """The table's one family."""
    assert seen.table is not None
    (family,) = seen.table.families.values()
    return family


def begun(seen: Snapshot) -> set[int]:
    """Shards whose moves have begun."""
    return {shard for shard, target in routes_of(seen).targets.items() if target.has_begun}


def planned(seen: Snapshot) -> set[int]:
    """Shards that wait for their turn."""
    return {shard for shard, target in routes_of(seen).targets.items() if not target.has_begun}


def since(seen: Snapshot, shard: int) -> Epoch:
    """The epoch that let a shard go."""
    return routes_of(seen).targets[ShardIndex(shard)].since
