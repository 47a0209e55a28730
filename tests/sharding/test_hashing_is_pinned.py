"""Every hash against the golden vectors: a difference here means that every bot of every installation moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.codec import decode_table, encode_table
from botshard.sharding.hashing import bot_hash, catalog_object_index, family_id, pool_name, rank_pools, shard_of
from botshard.sharding.ids import check_bot_id, check_pool_name

GOLDEN = Path(__file__).parent.parent / "golden"


def golden(name: str) -> list[dict[str, Any]]:
    """The vectors of one file."""
    vectors: list[dict[str, Any]] = json.loads((GOLDEN / name).read_text())
    return vectors


def key_of(vector: dict[str, Any]) -> FamilyKey:
    """The family's properties in a vector."""
    return FamilyKey(vector["group"], vector["framework"], vector.get("backbone"), vector.get("pin"))


def named(vector: dict[str, Any]) -> str:
    """A short name of a vector for the test's own."""
    return "-".join(str(value)[:12] for value in vector.values() if not isinstance(value, list | dict))[:60]


@pytest.mark.parametrize("vector", golden("bots.json"), ids=named)
def test_bot_hashes_are_the_golden_ones(vector: dict[str, Any]) -> None:
    """Hash, catalog object and shards of a bot id."""
    hash_of_bot = bot_hash(vector["id"])
    assert check_bot_id(vector["id"]) is None
    assert f"{hash_of_bot:016x}" == vector["hash"]
    assert f"{catalog_object_index(hash_of_bot):02x}" == vector["catalogObject"]
    assert {bits: shard_of(hash_of_bot, int(bits)) for bits in vector["shards"]} == vector["shards"]


@pytest.mark.parametrize("vector", golden("families.json"), ids=named)
def test_family_ids_are_the_golden_ones(vector: dict[str, Any]) -> None:
    """The id of a family from its four properties."""
    assert family_id(key_of(vector)) == vector["familyId"]


@pytest.mark.parametrize("vector", golden("pools.json"), ids=named)
def test_pool_names_are_the_golden_ones(vector: dict[str, Any]) -> None:
    """Names of pools, and that they are names."""
    name = pool_name(vector["group"], vector["familyId"], vector["ordinal"])
    assert name == vector["name"]
    assert check_pool_name(name, "name") is None


@pytest.mark.parametrize("vector", golden("orders.json"), ids=named)
def test_orders_are_the_golden_ones(vector: dict[str, Any]) -> None:
    """The rendezvous order of a shard's pools, however they are given."""
    assert list(rank_pools(vector["shard"], vector["bits"], vector["pools"])) == vector["order"]
    assert list(rank_pools(vector["shard"], vector["bits"], reversed(vector["pools"]))) == vector["order"]


def test_the_golden_table_reads_and_writes_as_it_stands() -> None:
    """Byte for byte: a table of today is the table of tomorrow."""
    data = (GOLDEN / "table.json").read_bytes()
    assert encode_table(decode_table(data)) == data


@pytest.mark.parametrize("vector", golden("lookups.json"), ids=named)
def test_lookups_in_the_golden_table_are_the_golden_ones(vector: dict[str, Any]) -> None:
    """From a bot's id and properties to the pools that a router asks and to all that answer."""
    table = decode_table((GOLDEN / "table.json").read_bytes())
    family, hash_of_bot = family_id(key_of(vector)), bot_hash(vector["id"])
    assert family == vector["familyId"]
    assert [pool.name for pool in table.lookup(family, hash_of_bot)] == vector["routed"]
    owners = [name for name in table.pools if table.owns(name, family, hash_of_bot)]
    assert sorted(owners) == sorted(vector["answering"])
    explained = table.explain(family, hash_of_bot)
    assert (None if explained is None else explained[0]) == vector["shard"]
