"""`docs/placement.md` says all that a client in another language needs, and its numbers are right."""

from __future__ import annotations

import ast
import json
import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from botshard.sharding.placement import _FILL_RATIO, _FINER_BITS, _MIN_BITS, _SHARDS_PER_POOL, _SHRINK_FILL_RATIO
from tests.sharding import second_lookup as second
from tests.sharding.test_hashing_is_pinned import GOLDEN, golden, named

DOCUMENT = (Path(__file__).parents[2] / "docs" / "placement.md").read_text()
TABLE = (GOLDEN / "table.json").read_bytes()
PROPERTIES = ("group", "framework", "backbone", "pin")


def properties(vector: dict[str, Any]) -> dict[str, str]:
    """The family's properties in a vector."""
    return {name: vector[name] for name in PROPERTIES if name in vector}


@pytest.mark.parametrize("length", [0, 1, 8, 127, 128, 129, 256, 1000])
def test_the_second_hash_is_blake2b(length: int) -> None:
    """At every length around a block."""
    message = bytes(number % 251 for number in range(length))
    assert second.keyed_hash(b"key", message) == blake2b(message, digest_size=8, key=b"key").digest()


@pytest.mark.parametrize("vector", golden("lookups.json"), ids=named)
def test_the_second_implementation_finds_every_bot(vector: dict[str, Any]) -> None:
    """From the text alone: shard, pools to ask, pools that answer."""
    shard, routed, answering = second.lookup(TABLE, vector["id"], properties(vector))
    assert (shard, routed, answering) == (vector["shard"], vector["routed"], vector["answering"])
    assert second.family_id(properties(vector)) == vector["familyId"]


def test_the_second_implementation_names_and_orders_pools_alike() -> None:
    """What only a planner computes."""
    for vector in golden("families.json"):
        assert second.family_id(properties(vector)) == vector["familyId"]
    for vector in golden("pools.json"):
        assert second.pool_name(vector["group"], vector["familyId"], vector["ordinal"]) == vector["name"]
    for vector in golden("orders.json"):
        assert second.order(vector["shard"], vector["bits"], vector["pools"]) == vector["order"]
    for vector in golden("bots.json"):
        assert second.keyed_hash(b"botshard.bot.v1", vector["id"].encode()).hex() == vector["hash"]


def test_the_worked_example_is_right() -> None:
    """Every line of it."""
    lines = dict(re.findall(r"^([A-Za-z][^=\n]*?) += (.+)$", DOCUMENT, re.MULTILINE))
    who = {"group": "realtime", "framework": "torch"}
    shard, routed, _ = second.lookup(TABLE, "acme-banking", who)
    entry = next(family for family in json.loads(TABLE)["families"] if properties(family) == who)
    bot = second.keyed_hash(b"botshard.bot.v1", b"acme-banking").hex()
    assert shard is not None
    assert lines == {
        'H(botshard.bot.v1, "acme-banking")': bot,
        r'H(botshard.family.v1, "realtime\ntorch\n\n")': second.keyed_hash(
            b"botshard.family.v1", b"realtime\ntorch\n\n"
        ).hex(),
        "family id": second.family_id(who),
        "catalog object": bot[:2],
        "bits of the family": str(entry["bits"]),
        "shard": str(shard),
        "shards[10]": str(entry["shards"][shard]),
        "pools, best first": ", ".join(routed),
    }
    assert ast.literal_eval(lines["shards[10]"]) == entry["shards"][10]


def test_the_planners_part_of_the_example_is_right() -> None:
    """Hashes of pools, their names, their weights, and the order that follows."""
    rows = re.findall(r"^(\d) +([0-9a-f]{16}) +(realtime-\S+) +([0-9a-f]{16})$", DOCUMENT, re.MULTILINE)
    assert len(rows) == 4
    for ordinal, hashed, name, weight in rows:
        message = f"torch-8f25fe36\n{ordinal}".encode()
        assert second.keyed_hash(b"botshard.pool.v1", message).hex() == hashed
        assert second.pool_name("realtime", "torch-8f25fe36", int(ordinal)) == name
        lowest = bytes.fromhex("a000000000000000")
        assert second.keyed_hash(b"botshard.order.v1", lowest + name.encode()).hex() == weight
    ranked = [name[-6:] for _, _, name, _ in sorted(rows, key=lambda row: row[3], reverse=True)]
    assert f"The order is {', '.join(ranked)};" in DOCUMENT
    assert second.order(10, 4, [name for _, _, name, _ in rows])[0].endswith(ranked[0])


def test_the_numbers_of_the_planner_are_those_of_the_text() -> None:
    """Fill ratios, bits and shards a pool."""
    assert f"under **{_FILL_RATIO:.0%}**".replace("%", " %") in DOCUMENT
    assert f"to **{_SHRINK_FILL_RATIO:.0%}** at most".replace("%", " %") in DOCUMENT
    assert f"At least {_MIN_BITS}, and {_SHARDS_PER_POOL} shards a pool" in DOCUMENT
    assert f"only {_FINER_BITS} bits further" in DOCUMENT
