"""A small fleet in a store, as publishers, controller and replicas would have left it."""

from __future__ import annotations

import json
import time
from pathlib import Path

from botshard.bots.publish import publish
from botshard.bots.rollouts import retire
from botshard.bots.template import write_template
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.hashing import family_id, pool_name, rank_pools
from botshard.sharding.ids import BotId, Epoch, Framework, GroupName, PoolName, ShardIndex, VersionNumber
from botshard.sharding.residency import Residency
from botshard.sharding.routing import FamilyRoutes, GroupRoute, Linger, RoutingTable, Target
from botshard.store.base import ObjectStore
from botshard.store.costs import BotCost, ReplicaCosts, write_costs
from botshard.store.layout import CONTROLLER_STATUS
from botshard.store.reports import BotReport, ReplicaReport, write_report
from botshard.store.table import TableStore

__all__ = ["BOTS", "FAMILY", "POOLS", "make_fleet", "publish_bots", "report", "table_of"]

KEY = FamilyKey(GroupName("non-realtime"), Framework("torch"))
FAMILY = family_id(KEY)
POOLS = tuple(pool_name(KEY.group, FAMILY, ordinal) for ordinal in range(3))
"""Two that are routed, and one that a shard may be on its way to."""
BOTS = ("acme-banking", "acme-travel", "globex-hr", "globex-old", "globex-huge")
"""Resident, failed to load, absent, retired, too big for any pool."""


def publish_bots(store: ObjectStore, folder: Path, names: tuple[str, ...] = BOTS) -> None:
    """Publish a template bot under each name; its tenant is the name's first part."""
    for name in names:
        write_template(folder / name, tenant=name.partition("-")[0])
    results = publish(store, [folder / name for name in names], now_s=1_700_000_000)
    assert not [result for result in results if result.problems]


def table_of(
    *,
    epoch: int = 7,
    bits: int = 2,
    pools: tuple[PoolName, ...] = POOLS[:2],
    targets: dict[ShardIndex, Target] | None = None,
    lingering: dict[ShardIndex, Linger] | None = None,
) -> RoutingTable:
    """A table of one family whose shards are each in the best of `pools`."""
    named = {*pools, *(n for t in (targets or {}).values() for n in t.pools)}
    named |= {n for one in (lingering or {}).values() for n in one.pools}
    routes = FamilyRoutes(
        id=FAMILY,
        key=KEY,
        bits=bits,
        urls={name: f"http://127.0.0.1:{9000 + POOLS.index(name)}" for name in POOLS if name in named},
        shards=tuple(rank_pools(ShardIndex(shard), bits, pools)[:1] for shard in range(1 << bits)),
        targets=targets or {},
        lingering=lingering or {},
    )
    return RoutingTable(Epoch(epoch), {KEY.group: GroupRoute(False, 10.0, 30.0)}, {FAMILY: routes})


def report(
    pool: PoolName, replica: str, bots: dict[str, BotReport], *, at_s: float, ready: bool = True
) -> ReplicaReport:
    """What one replica says."""
    return ReplicaReport(
        pool=pool,
        replica=replica,
        epoch=Epoch(7),
        catalog_revision=1,
        ready=ready,
        warmed_epoch=Epoch(7),
        at_s=at_s,
        resident_bytes=sum(bot.footprint_bytes for bot in bots.values()),
        base_rss_bytes=120_000_000,
        in_flight=1,
        requests_total=5,
        bots={BotId(name): bot for name, bot in bots.items()},
    )


RESIDENT = BotReport(Residency.RESIDENT, VersionNumber(1), footprint_bytes=4096, rate_per_s=1.5, load_s=0.02)
FAILED = BotReport(Residency.FAILED, VersionNumber(1), error="the file has 3 tensors, the architecture 4")


def make_fleet(store: ObjectStore, folder: Path) -> None:
    """All of BOTS, a table, two live replicas and one that has ended, a controller that cannot place one bot."""
    publish_bots(store, folder)
    retire(store, "globex-old")
    TableStore(store).publish(table_of(), previous_etag=None)
    now_s = time.time()
    for pool in POOLS[:2]:
        # The bot's own pool is one of the two; that the other lists it too stands for a replica that has not let go.
        write_report(store, report(pool, "r1", {"acme-banking": RESIDENT, "acme-travel": FAILED}, at_s=now_s))
        cost = BotCost(since_s=1_700_000_000, requests=12, rows=40, cpu_s=0.004)
        write_costs(store, ReplicaCosts(pool, "r1", now_s, {BotId("acme-banking"): cost}))
    write_report(store, report(POOLS[0], "r0", {"globex-hr": RESIDENT}, at_s=now_s - 3600, ready=False))
    status = {
        "epoch": 7,
        "waiting": ["pool x has no URL yet"],
        "refused": {"globex-huge": "it needs 1.0 GiB, a pool of group 'non-realtime' has 512.0 MiB"},
        "refusedCount": 1,
        "problems": {},
    }
    store.put(CONTROLLER_STATUS, json.dumps(status).encode())
