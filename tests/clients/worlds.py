"""Tables of every shape from a seed, bots to look for in them, and ways to spoil a table."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.codec import encode_table
from botshard.sharding.groups import RoutePolicy
from botshard.sharding.hashing import family_id, pool_name, rank_pools
from botshard.sharding.ids import Epoch, FamilyId, Framework, GroupName, PoolName, ShardIndex
from botshard.sharding.routing import FamilyRoutes, GroupRoute, Linger, RoutingTable, Target

__all__ = ["SPOILERS", "bot_question", "encoded", "spoiled", "spoiled_bytes"]

_ID_ALPHABET = "abcdefXYZ0189._-"
_URLS = ("http://{}.bots.example:8080", "https://{}", "http://127.0.0.1:9/a/b?c=~")


def family_keys(random: Random) -> list[FamilyKey]:
    """Different families of two groups, with and without backbone and pin."""
    keys = {
        FamilyKey(
            GroupName(random.choice(["realtime", "g-1"])),
            Framework(random.choice(["torch", "tensorflow", "f0"])),
            random.choice([None, "minilm", "Mini.LM_v2-x"]),
            random.choice([None, None, "vip", "9" * 63]),
        )
        for _ in range(random.randint(1, 6))
    }
    return sorted(keys, key=repr)


def table(random: Random, keys: list[FamilyKey]) -> RoutingTable:
    """A table with these families, some of their shards on their way."""
    epoch = random.choice([1, random.randint(1, 2**40), 2**63 - 1])
    groups = {
        GroupName(name): GroupRoute(
            random.random() < 0.5,
            random.choice([0.001, 2.5, 30.0]),
            random.random() * 100,
            random.choice([None, *RoutePolicy]),
        )
        for name in ("g-1", "realtime")
    }
    families: dict[FamilyId, FamilyRoutes] = {family_id(key): _routes(random, key, epoch) for key in keys}
    return RoutingTable(Epoch(epoch), groups, families)


def _routes(random: Random, key: FamilyKey, epoch: int) -> FamilyRoutes:
    bits, count = random.randint(0, 6), random.randint(1, 6)
    names = [pool_name(key.group, family_id(key), ordinal) for ordinal in range(count)]
    shards = [ShardIndex(shard) for shard in range(1 << bits)]

    def some() -> tuple[PoolName, ...]:
        return tuple(random.sample(names, random.randint(1, count)))

    moving = random.sample(shards, random.randint(0, min(4, len(shards))))
    return FamilyRoutes(
        family_id(key),
        key,
        bits,
        {name: random.choice(_URLS).format(name) for name in names},
        tuple(rank_pools(shard, bits, names)[: random.randint(1, 4)] if count > 2 else some() for shard in shards),
        {shard: Target(some(), Epoch(random.randint(0, epoch))) for shard in moving[::2]},
        {shard: Linger(some(), random.random() * 2e9) for shard in moving[1:]},
    )


def rewritten(random: Random, data: bytes) -> bytes:
    """The same table, written less regularly: members in another order, white space, escapes, null for absent."""
    document = json.loads(data)
    random.shuffle(document["families"])
    for family in document["families"]:
        for name in ("backbone", "pin"):
            if random.random() < 0.5:
                family.setdefault(name, None)
    text = json.dumps(_shuffled(random, document), indent=random.choice([None, 0, 3]))
    return text.replace("torch", r"\u0074orch").encode()


def _shuffled(random: Random, value: Any) -> Any:
    if isinstance(value, list):
        return [_shuffled(random, item) for item in value]
    if not isinstance(value, dict):
        return value
    members = list(value.items())
    random.shuffle(members)
    return {name: _shuffled(random, member) for name, member in members}


def bot_question(random: Random, keys: list[FamilyKey]) -> dict[str, object]:
    """A bot to look for: most of the time one of these families, at times one that no table has."""
    key = random.choice([*keys, FamilyKey(GroupName("realtime"), Framework("unknown"))])
    length = random.choice([1, 5, 12, 36, 127, 128])
    question: dict[str, object] = {"id": "".join(random.choices(_ID_ALPHABET, k=length))}
    question |= {"group": key.group, "framework": key.framework}
    optional = {"backbone": key.backbone, "pin": key.pin}
    return question | {name: value for name, value in optional.items() if value is not None or random.random() < 0.5}


# ── ways to spoil a table ────────────────────────────────────────────────────────────────────────────────────────────


def _without(random: Random, document: Any) -> None:
    family = random.choice(document["families"])
    holder, names = random.choice(
        [
            (document, ["epoch", "groups", "families"]),
            (family, ["group", "framework", "bits", "pools", "shards"]),
            (family["pools"][0], ["name", "url"]),
        ]
    )
    del holder[random.choice(names)]


def _unknown(random: Random, document: Any) -> None:
    family = random.choice(document["families"])
    random.choice([document, document["groups"]["g-1"], family, family["pools"][-1]])["extra"] = None


def _out_of_range(random: Random, document: Any) -> None:
    family = random.choice(document["families"])
    row = random.choice(family["shards"])
    row[random.randrange(len(row))] = random.choice([len(family["pools"]), -1, 10**12, 0.0, "0", None, True])


def _twice(random: Random, document: Any) -> None:
    family = random.choice(document["families"])
    kind = random.randrange(3)
    if kind == 0:
        document["families"].append(family)
    elif kind == 1:
        family["pools"].append(family["pools"][0])
    else:
        row = random.choice(family["shards"])
        row.append(row[0])


def _rows(random: Random, document: Any) -> None:
    rows = random.choice(document["families"])["shards"]
    if random.random() < 0.5:
        rows.append(rows[0])
    else:
        rows.pop()


def _another_type(random: Random, document: Any) -> None:
    family = random.choice(document["families"])
    holder, names = random.choice(
        [
            (document, ["epoch", "format"]),
            (family, ["bits", "shards", "targets", "lingering"]),
            (family["pools"][0], ["name", "url"]),
            (document["groups"]["g-1"], ["requestTimeoutS", "coldStartTimeoutS"]),
        ]
    )
    holder[random.choice(names)] = random.choice(["", [], -1, True, "X y"])


SPOILERS: tuple[Callable[[Random, Any], None], ...] = (_without, _unknown, _out_of_range, _twice, _rows, _another_type)


def spoiled(random: Random, data: bytes, spoiler: Callable[[Random, Any], None]) -> bytes:
    """A table with one thing wrong."""
    document = copy.deepcopy(json.loads(data))
    spoiler(random, document)
    return json.dumps(document, separators=(",", ":")).encode()


def spoiled_bytes(random: Random, data: bytes) -> bytes:
    """A table in which bytes were changed, lost or doubled: nobody knows whether it is one still."""
    start = random.randrange(len(data))
    end = start + random.choice([0, 1, 1, 1, 2, 40])
    return data[:start] + random.choice([b"", b"0", b"7", b",", b'"', b"\xff", data[start:end] * 2]) + data[end:]


def encoded(random: Random) -> tuple[bytes, list[FamilyKey]]:
    """A table's bytes, regular or not, and its families."""
    keys = family_keys(random)
    data = encode_table(table(random, keys))
    return (rewritten(random, data) if random.random() < 0.5 else data), keys
