"""Where a bot is, asked of a table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.hashing import family_id
from botshard.sharding.ids import Epoch, FamilyId, PoolName, ShardIndex
from botshard.sharding.routing import FamilyRoutes, Linger, RoutingTable, Target
from tests.sharding.building import THOROUGH, TORCH, tables, url_of

A, B, C, D = (PoolName(name) for name in "abcd")
hashes = st.integers(0, 2**64 - 1)


def moving() -> FamilyRoutes:
    """Two shards in four pools: the first going from a to b, the second from c, which it has left, to d."""
    return FamilyRoutes(
        family_id(TORCH),
        TORCH,
        1,
        {name: url_of(name) for name in (A, B, C, D)},
        ((A,), (D, A)),
        {ShardIndex(0): Target((B, A), Epoch(1))},
        {ShardIndex(1): Linger((C,), 5.0)},
    )


@given(table=tables(), hash_of_bot=hashes)
@THOROUGH
def test_a_lookup_is_the_row_of_the_first_bits(table: RoutingTable, hash_of_bot: int) -> None:
    """By definition: the shard is the hash's first bits as a number, its pools stand in that row, best first."""
    for family in table.families.values():
        written = f"{hash_of_bot:064b}"[: family.bits]
        row = family.shards[int(written, 2) if written else 0]
        found = table.lookup(family.id, hash_of_bot)
        assert [route.name for route in found] == list(row)
        assert all(route == table.pools[route.name] for route in found)
        assert all((route.group, route.family) == (family.key.group, family.id) for route in found)
        assert [route.url for route in found] == [family.urls[name] for name in row]


@given(table=tables(), hash_of_bot=hashes)
@THOROUGH
def test_a_pool_owns_what_is_routed_or_warming_or_lingering(table: RoutingTable, hash_of_bot: int) -> None:
    """The union of the three, and nothing else; what is only planned is not among them."""
    for family in table.families.values():
        explained = table.explain(family.id, hash_of_bot)
        assert explained is not None
        shard, routes = explained
        assert routes is family
        target, linger = routes.targets.get(shard), routes.lingering.get(shard)
        union = {
            *routes.shards[shard],
            *(target.pools if target and target.since else ()),
            *(linger.pools if linger else ()),
        }
        assert union == {name for name in family.urls if table.owns(name, family.id, hash_of_bot)}


def test_pools_answer_in_the_order_routed_warming_lingering() -> None:
    """Each once."""
    assert moving().answering(ShardIndex(0)) == (A, B)
    assert moving().answering(ShardIndex(1)) == (D, A, C)


def test_a_family_that_is_not_in_the_table_has_no_pools() -> None:
    """Nothing is an error about it: its pools are being made."""
    table = RoutingTable(Epoch(1), {}, {})
    assert table.lookup(FamilyId("torch-00000000"), 5) == ()
    assert not table.owns(A, FamilyId("torch-00000000"), 5)
    assert table.explain(FamilyId("torch-00000000"), 5) is None


def test_shards_of_equal_pools_share_one_tuple() -> None:
    """A table of many shards stays small in memory."""
    family = FamilyRoutes(family_id(TORCH), TORCH, 2, {A: url_of(A)}, ((A,),) * 4)
    table = RoutingTable(Epoch(1), {}, {family.id: family})
    assert table.lookup(family.id, 0) is table.lookup(family.id, 2**64 - 1)
