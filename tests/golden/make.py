"""Writes the golden vectors. Run once, when a format gets a new version: `python -m tests.golden.make`.

No test calls this: tests only read what is checked in. A file that exists is never overwritten, since bots are placed
by these numbers in installations that run: a different number means that every bot moves. To change one on purpose,
raise the version in the hash's key (`botshard.bot.v1`) or in the format, delete the file and say why in the changelog.

| file | holds |
| --- | --- |
| `bots.json` | bot ids, their hashes (16 hex digits), catalog object, shard with 0, 1, 4, 10 and 20 bits |
| `families.json` | properties of a family, its id |
| `pools.json` | group, family id, ordinal, name of the pool |
| `orders.json` | shard, bits, pools, the same pools best first |
| `table.json` | one routing table, byte for byte |
| `lookups.json` | bot id and properties → family id, shard, routed pools, all pools that answer, in that table |
"""

from __future__ import annotations

import json
from pathlib import Path

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.codec import encode_table
from botshard.sharding.hashing import bot_hash, catalog_object_index, family_id, pool_name, rank_pools, shard_of
from botshard.sharding.ids import BotId, Epoch, FamilyId, Framework, GroupName, PoolName, ShardIndex
from botshard.sharding.routing import FamilyRoutes, GroupRoute, Linger, RoutingTable, Target

HERE = Path(__file__).parent

BOT_IDS = (
    *("a", "A", "0", "-", "_", "...", "a.b", "a-b", "a_b", "acme-banking", "ACME-banking", "acme-banking.v2"),
    *("00000000-0000-4000-8000-000000000000", "x" * 127, "x" * 128, "Z" * 64 + "9" * 64, "-._" * 42),
    *(f"bot-{number:05d}" for number in range(24)),
)
BITS = (0, 1, 4, 10, 20)
KEYS = (
    FamilyKey(GroupName("realtime"), Framework("torch")),
    FamilyKey(GroupName("non-realtime"), Framework("torch")),
    FamilyKey(GroupName("realtime"), Framework("tensorflow")),
    FamilyKey(GroupName("realtime"), Framework("torch"), "minilm"),
    FamilyKey(GroupName("realtime"), Framework("torch"), None, "minilm"),
    FamilyKey(GroupName("realtime"), Framework("torch"), "minilm", "vip"),
    FamilyKey(GroupName("realtime"), Framework("torch"), "Mini.LM_v2-x", "0"),
    FamilyKey(GroupName("r"), Framework("t")),
    FamilyKey(GroupName("g" * 24), Framework("f" * 12), "b" * 63, "p" * 63),
)
PROPERTIES = ("group", "framework", "backbone", "pin")


def properties(key: FamilyKey, /) -> dict[str, str]:
    """The properties of a family as a catalog entry holds them: absent ones are left out."""
    values = (key.group, key.framework, key.backbone, key.pin)
    return {name: value for name, value in zip(PROPERTIES, values, strict=True) if value is not None}


def bots() -> list[object]:
    """Bot ids and what follows from them alone."""
    return [
        {
            "id": name,
            "hash": f"{bot_hash(name):016x}",
            "catalogObject": f"{catalog_object_index(bot_hash(name)):02x}",
            "shards": {str(bits): shard_of(bot_hash(name), bits) for bits in BITS},
        }
        for name in BOT_IDS
    ]


def families() -> list[object]:
    """Properties and family ids."""
    return [{**properties(key), "familyId": family_id(key)} for key in KEYS]


def pools() -> list[object]:
    """Names of pools."""
    return [
        {"group": key.group, "familyId": family_id(key), "ordinal": ordinal, "name": name}
        for key in KEYS
        for ordinal in (0, 1, 2, 9, 10, 99_999)
        for name in [pool_name(key.group, family_id(key), ordinal)]
    ]


def orders() -> list[object]:
    """Rendezvous orders: halves of a split shard, one pool, many pools."""
    found: list[object] = []
    for shard, bits, count in ((0, 0, 3), (0, 1, 3), (1, 1, 3), (0, 4, 5), (15, 4, 5), (7, 4, 1), (1_048_575, 20, 40)):
        names = _pools_of(KEYS[0], count)
        ranked = rank_pools(ShardIndex(shard), bits, names)
        found.append({"shard": shard, "bits": bits, "pools": sorted(names), "order": list(ranked)})
    return found


def _pools_of(key: FamilyKey, count: int) -> list[PoolName]:
    return [pool_name(key.group, family_id(key), ordinal) for ordinal in range(count)]


def _routes(key: FamilyKey, bits: int, count: int, replicas: int) -> FamilyRoutes:
    names = _pools_of(key, count)
    urls = {name: f"http://{name}.bots.example:8080" for name in names}
    shards = tuple(rank_pools(ShardIndex(shard), bits, names)[:replicas] for shard in range(1 << bits))
    return FamilyRoutes(family_id(key), key, bits, urls, shards)


def table() -> RoutingTable:
    """Four families: k = 2 in the middle of a move, k = 1, one shard only, and one with backbone and pin."""
    moving = _routes(KEYS[0], 4, 4, 2)
    spare = {shard: rank_pools(ShardIndex(shard), 4, moving.urls)[2:] for shard in (0, 5, 12)}
    moving = FamilyRoutes(
        moving.id,
        moving.key,
        moving.bits,
        moving.urls,
        moving.shards,
        {
            ShardIndex(0): Target((moving.shards[0][0], spare[0][0]), Epoch(41)),
            ShardIndex(12): Target(spare[12], Epoch(42)),
        },
        {
            ShardIndex(5): Linger(spare[5][:1], 1_700_000_030.25),
            ShardIndex(12): Linger(moving.shards[12][:1], 1_700_000_031.0),
        },
    )
    routes = [moving, _routes(KEYS[1], 5, 3, 1), _routes(KEYS[2], 0, 1, 1), _routes(KEYS[5], 4, 2, 2)]
    groups = {
        GroupName("realtime"): GroupRoute(True, 2.5, 10.0),
        GroupName("non-realtime"): GroupRoute(False, 30.0, 60.0),
    }
    by_id: dict[FamilyId, FamilyRoutes] = {family.id: family for family in routes}
    return RoutingTable(Epoch(42), groups, by_id)


def lookups() -> list[object]:
    """Where bots are in `table()`; the last family is not in it."""
    known = table()
    found: list[object] = []
    for key in (KEYS[0], KEYS[1], KEYS[2], KEYS[5], KEYS[3]):
        for name in map(BotId, BOT_IDS):
            hash_of_bot, family = bot_hash(name), family_id(key)
            explained = known.explain(family, hash_of_bot)
            found.append(
                {
                    "id": name,
                    **properties(key),
                    "familyId": family,
                    "shard": None if explained is None else explained[0],
                    "routed": [pool.name for pool in known.lookup(family, hash_of_bot)],
                    "answering": [] if explained is None else list(explained[1].answering(explained[0])),
                }
            )
    return found


def main() -> None:
    """Write the files that are not there."""
    documents: dict[str, list[object]] = {
        "bots.json": bots(),
        "families.json": families(),
        "pools.json": pools(),
        "orders.json": orders(),
        "lookups.json": lookups(),
    }
    texts = {
        name: ("[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]\n").encode()
        for name, items in documents.items()
    }
    for name, data in {**texts, "table.json": encode_table(table())}.items():
        path = HERE / name
        if not path.exists():
            path.write_bytes(data)


if __name__ == "__main__":
    main()
