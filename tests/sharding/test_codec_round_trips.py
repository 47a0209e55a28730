"""Tables and catalog objects, to bytes and back."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.catalog import Bot
from botshard.sharding.codec import decode_catalog, decode_table, encode_catalog, encode_table
from botshard.sharding.hashing import bot_hash, family_id, pool_name, rank_pools
from botshard.sharding.ids import BotId, Epoch, ShardIndex
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from tests.sharding.building import LAZY, QUICK, THOROUGH, TORCH, catalogs, tables


@given(table=tables(), name=st.text(max_size=20))
@THOROUGH
def test_a_table_survives_the_bytes(table: RoutingTable, name: str) -> None:
    """Decoded it is equal, encoded again it is the same bytes, and it answers alike."""
    data = encode_table(table)
    decoded = decode_table(data)
    assert decoded == table
    assert encode_table(decoded) == data
    assert decoded.pools == table.pools
    for family in table.families:
        assert decoded.lookup(family, bot_hash(name)) == table.lookup(family, bot_hash(name))


@given(table=tables())
@THOROUGH
def test_equal_tables_give_equal_bytes(table: RoutingTable) -> None:
    """Whatever order their parts were put in, and whether a number was written 5 or 5.0."""
    backwards = replace(
        table,
        groups=dict(reversed(list(table.groups.items()))),
        families={
            name: replace(family, urls=dict(reversed(list(family.urls.items()))))
            for name, family in reversed(list(table.families.items()))
        },
    )
    assert encode_table(backwards) == encode_table(table)
    whole, broken = (replace(table, groups={LAZY: GroupRoute(False, *seconds)}) for seconds in ((5, 9), (5.0, 9.0)))
    assert whole == broken
    assert encode_table(replace(whole, families={})) == encode_table(replace(broken, families={}))


@given(catalog=catalogs)
@QUICK
def test_a_catalog_object_survives_the_bytes(catalog: tuple[int, list[Bot]]) -> None:
    """Decoded it holds the same bots, by id; encoded again, in any order, it is the same bytes."""
    revision, bots = catalog
    data = encode_catalog(revision, bots)
    assert decode_catalog(data) == (revision, tuple(sorted(bots, key=lambda bot: bot.id)))
    assert encode_catalog(revision, reversed(bots)) == data


def test_a_revision_alone_changes_the_bytes() -> None:
    """A store that names content by its digest never gives an old name to a new write."""
    assert encode_catalog(8, []) != encode_catalog(7, [])


def test_the_bytes_are_compact_json_that_a_person_can_read() -> None:
    """No spaces, no escapes, one object."""
    data = encode_table(RoutingTable(decode_table(_EMPTY).epoch, {}, {}))
    assert data == _EMPTY
    assert json.loads(data) == {"format": "botshard.table/v1", "epoch": 3, "groups": {}, "families": []}


_EMPTY = b'{"format":"botshard.table/v1","epoch":3,"groups":{},"families":[]}'


def test_a_table_of_500_pools_stays_under_a_megabyte() -> None:
    """What every router fetches when anything moves."""
    names = [pool_name(LAZY, family_id(TORCH), ordinal) for ordinal in range(500)]
    urls = {name: f"http://{name}-predictor.bots.svc.cluster.local:8080" for name in names}
    shards = tuple(rank_pools(ShardIndex(shard), 13, names[shard % 20 :: 20])[:2] for shard in range(1 << 13))
    family = FamilyRoutes(family_id(TORCH), TORCH, 13, urls, shards)
    table = RoutingTable(Epoch(1), {}, {family.id: family})
    assert len(set(sum(shards, ()))) == 500
    assert len(encode_table(table)) < 1_000_000


def test_a_null_is_an_absent_field() -> None:
    """Writers of other languages put null where a property is not set; on the way out it is left out."""
    version = {"number": 1, "artifact": "a" * 64, "bytes": 1, "group": "g", "framework": "torch", "publishedAtS": 1}
    entry = {"tenant": "t", "rollout": None, "retired": None, "versions": [{**version, "backbone": None, "pin": None}]}
    data = json.dumps({"format": "botshard.catalog/v1", "revision": 1, "bots": {"a": entry}}).encode()
    revision, (bot,) = decode_catalog(data)
    assert (bot.id, bot.rollout.version, bot.retired) == (BotId("a"), None, False)
    assert b"null" not in encode_catalog(revision, [bot])
