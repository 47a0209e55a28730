"""Short ways to a group, a bot, a snapshot; and tables and catalogs of every shape, for hypothesis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from botshard.sharding.catalog import Bot, FamilyKey, ResourceHints, Rollout, Version
from botshard.sharding.fleet import BotLoad, PoolPhase, PoolStatus, Snapshot
from botshard.sharding.groups import PoolGroupSpec, RoutePolicy
from botshard.sharding.hashing import bot_hash, family_id, pool_name
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
from botshard.sharding.placement import FamilyPlacement, Placement
from botshard.sharding.routing import FamilyRoutes, GroupRoute, Linger, RoutingTable, Target

# No deadline: on a busy machine a single example may take any time.
LIGHT = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
QUICK = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
THOROUGH = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])

REALTIME = GroupName("realtime")
LAZY = GroupName("non-realtime")
TORCH = FamilyKey(REALTIME, Framework("torch"))
MIB = 1024 * 1024


def group(name: GroupName = REALTIME, **settings_of_group: Any) -> PoolGroupSpec:
    """A pool group of 100 MiB and 100 bots a pool."""
    bounds = {"pool_memory_bytes": 100 * MIB, "bots_per_pool": 100, **settings_of_group}
    return PoolGroupSpec(name, realtime=name == REALTIME, **bounds)


def load(name: str, key: FamilyKey = TORCH, *, footprint_bytes: int = MIB) -> BotLoad:
    """One bot as placement weighs it."""
    return BotLoad(BotId(name), bot_hash(name), key, footprint_bytes)


def loads(
    count: int, key: FamilyKey = TORCH, *, footprint_bytes: int = MIB, prefix: str = "bot"
) -> tuple[BotLoad, ...]:
    """Equal bots."""
    return tuple(load(f"{prefix}-{number}", key, footprint_bytes=footprint_bytes) for number in range(count))


def snapshot(
    bots: Iterable[BotLoad], group_spec: PoolGroupSpec | None = None, table: RoutingTable | None = None
) -> Snapshot:
    """One group, its bots and what is published."""
    spec = group_spec or group()
    return Snapshot({spec.name: spec}, tuple(bots), table)


def published(placement: Placement, seen: Snapshot, *, epoch: int = 1) -> RoutingTable:
    """The table that says nothing but `placement`: every move is done."""
    families = {
        name: FamilyRoutes(name, placed.key, placed.bits, {pool: url_of(pool) for pool in placed.pools}, placed.shards)
        for name, placed in placement.families.items()
    }
    return RoutingTable(Epoch(epoch), group_routes(seen), families)


def group_routes(seen: Snapshot) -> dict[GroupName, GroupRoute]:
    """What a table says of the groups of a snapshot."""
    return {
        name: GroupRoute(spec.realtime, spec.request_timeout_s, spec.cold_start_timeout_s, spec.policy)
        for name, spec in seen.groups.items()
    }


def settled(seen: Snapshot, placement: Placement) -> Snapshot:
    """The snapshot after everything that `placement` wants has happened."""
    table = published(placement, seen, epoch=(seen.table.epoch + 1) if seen.table else 1)
    return with_ready_pools(replace(seen, table=table))


def with_ready_pools(seen: Snapshot) -> Snapshot:
    """The snapshot with every pool of its table up and warm."""
    assert seen.table is not None
    statuses = {name: PoolStatus(name, url_of(name), PoolPhase.READY) for name in seen.table.pools}
    return replace(seen, pools=statuses, warmed=dict.fromkeys(statuses, seen.table.epoch))


def url_of(pool: PoolName) -> str:
    """Where a pool of the tests answers."""
    return f"http://{pool}.test:8080"


def only_family(placement: Placement) -> FamilyPlacement:
    """The placement's one family."""
    (family,) = placement.families.values()
    return family


def moved_bots(before: FamilyPlacement, after: FamilyPlacement, bots: Iterable[BotLoad]) -> int:
    """How many bots have a new pool, counted once a pool."""
    old, new = before.split_to(max(before.bits, after.bits)), after
    return sum(
        len(set(new.shards[bot.hash >> (64 - new.bits)]).difference(old.shards[bot.hash >> (64 - old.bits)]))
        for bot in bots
    )


# ── values of every shape ────────────────────────────────────────────────────────────────────────────────────────────

_ID_ALPHABET = "abcXYZ019._-"
bot_ids = st.text(_ID_ALPHABET, min_size=1, max_size=128).filter(lambda text: text not in (".", "..")).map(BotId)
tenants = st.text(_ID_ALPHABET, min_size=1, max_size=64).filter(lambda text: text not in (".", "..")).map(TenantId)
_LOWER = "abz09"
group_names = st.text(_LOWER + "-", max_size=22).map(lambda text: GroupName(f"g{text}0"))
frameworks = st.text(_LOWER, max_size=11).map(lambda text: Framework(f"f{text}"))
labels = st.text(_ID_ALPHABET, max_size=62).map(lambda text: f"B{text}")
seconds = st.floats(0.001, 1e12)


@st.composite
def family_keys(draw: st.DrawFn, groups: st.SearchStrategy[GroupName] = group_names) -> FamilyKey:
    """Families with and without backbone and pin."""
    return FamilyKey(draw(groups), draw(frameworks), draw(st.none() | labels), draw(st.none() | labels))


@st.composite
def routes(draw: st.DrawFn, key: FamilyKey, epoch: int) -> FamilyRoutes:
    """One family's routes, some shards on their way."""
    bits, count = draw(st.integers(0, 4)), draw(st.integers(1, 5))
    names = [pool_name(key.group, family_id(key), ordinal) for ordinal in range(count)]
    some = st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True).map(tuple)
    shards = st.integers(0, (1 << bits) - 1).map(ShardIndex)
    return FamilyRoutes(
        family_id(key),
        key,
        bits,
        {name: draw(st.sampled_from([url_of(name), "http://127.0.0.1:1", "https://x/y"])) for name in names},
        tuple(draw(some) for _ in range(1 << bits)),
        draw(st.dictionaries(shards, st.builds(Target, some, st.integers(0, epoch).map(Epoch)), max_size=4)),
        draw(st.dictionaries(shards, st.builds(Linger, some, seconds), max_size=4)),
    )


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable:
    """Routing tables, also an empty one."""
    epoch = draw(st.integers(1, 2**40))
    route = st.builds(GroupRoute, st.booleans(), seconds, seconds, st.none() | st.sampled_from(RoutePolicy))
    groups = draw(st.dictionaries(group_names, route, max_size=3))
    families: dict[FamilyId, FamilyRoutes] = {}
    if groups:
        for key in draw(st.lists(family_keys(st.sampled_from(sorted(groups))), max_size=4, unique=True)):
            families[family_id(key)] = draw(routes(key, epoch))
    return RoutingTable(Epoch(epoch), groups, families)


_hints = st.builds(ResourceHints, st.none() | st.integers(0, 2**50), st.none() | st.floats(0, 1e6))


@st.composite
def bots(draw: st.DrawFn, names: st.SearchStrategy[BotId] = bot_ids) -> Bot:
    """Catalog entries, pinned or not, retired or not."""
    numbers = sorted(draw(st.sets(st.integers(1, 10**6), min_size=1, max_size=4)))
    versions = tuple(
        Version(
            VersionNumber(number),
            draw(st.sampled_from(["0123456789abcdef" * 4, "f" * 64])),
            draw(st.integers(0, 2**50)),
            draw(family_keys()),
            draw(st.integers(0, 2**40)),
            draw(_hints),
        )
        for number in numbers
    )
    rollout = Rollout(draw(st.none() | st.sampled_from([version.number for version in versions])))
    return Bot(draw(names), draw(tenants), versions, rollout, draw(st.booleans()))


catalogs = st.tuples(st.integers(1, 2**40), st.lists(bots(), max_size=4, unique_by=lambda bot: bot.id))
