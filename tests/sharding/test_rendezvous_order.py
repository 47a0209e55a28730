"""The order of a family's pools for a shard."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding import hashing
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.errors import CallerError
from botshard.sharding.hashing import bot_hash, family_id, pool_name, rank_pools, shard_of
from botshard.sharding.ids import Framework, PoolName, ShardIndex, check_pool_name
from tests.sharding.building import REALTIME, THOROUGH, TORCH, bot_ids, family_keys

shards = st.integers(0, 20).flatmap(
    lambda bits: st.tuples(st.integers(0, (1 << bits) - 1).map(ShardIndex), st.just(bits))
)


def pools(count: int) -> list[PoolName]:
    """The first pools of a family."""
    return [pool_name(REALTIME, family_id(TORCH), ordinal) for ordinal in range(count)]


@given(shard=shards, count=st.integers(0, 30), data=st.data())
@THOROUGH
def test_an_order_is_a_permutation_whatever_order_it_is_given(
    shard: tuple[ShardIndex, int], count: int, data: st.DataObject
) -> None:
    """Nothing is lost or doubled, and the order of the input does not matter."""
    order = rank_pools(*shard, pools(count))
    assert sorted(order) == sorted(pools(count))
    assert rank_pools(*shard, data.draw(st.permutations(pools(count)))) == order


@given(shard=shards, count=st.integers(1, 30), data=st.data())
@THOROUGH
def test_one_pool_more_or_less_leaves_the_order_of_the_others(
    shard: tuple[ShardIndex, int], count: int, data: st.DataObject
) -> None:
    """A pool that comes is put somewhere; one that goes leaves a gap; the others stay in their order."""
    gone = data.draw(st.sampled_from(pools(count)))
    others = [name for name in pools(count) if name != gone]
    assert [name for name in rank_pools(*shard, pools(count)) if name != gone] == list(rank_pools(*shard, others))


def test_shards_are_spread_over_pools_within_chance() -> None:
    """4096 shards on 16 pools: each is first for 256, give or take five standard deviations."""
    firsts = Counter(rank_pools(ShardIndex(shard), 12, pools(16))[0] for shard in range(4096))
    assert len(firsts) == 16
    assert all(abs(count - 256) < 5 * 256**0.5 for count in firsts.values())


def test_bots_are_spread_over_shards_within_chance() -> None:
    """Ids that differ in one digit fall evenly into 64 shards."""
    counts = Counter(shard_of(bot_hash(f"tenant-{number}"), 6) for number in range(16_384))
    assert len(counts) == 64
    assert all(abs(count - 256) < 5 * 256**0.5 for count in counts.values())


@given(name=bot_ids, bits=st.integers(0, 19))
@THOROUGH
def test_a_split_gives_each_bot_a_half_of_its_shard(name: str, bits: int) -> None:
    """Shard i splits into 2i and 2i + 1, and the lower half keeps the order of pools."""
    shard, half = shard_of(bot_hash(name), bits), shard_of(bot_hash(name), bits + 1)
    assert half // 2 == shard
    assert rank_pools(ShardIndex(2 * shard), bits + 1, pools(7)) == rank_pools(shard, bits, pools(7))


@pytest.mark.parametrize(("shard", "bits"), [(1, 0), (16, 4), (-1, 4)], ids=["of no bits", "beyond", "negative"])
def test_a_shard_that_does_not_exist_is_our_own_mistake(shard: int, bits: int) -> None:
    """It is said so, not computed with."""
    with pytest.raises(CallerError, match="does not exist"):
        rank_pools(ShardIndex(shard), bits, pools(2))


@given(key=family_keys(), ordinal=st.integers(0, 10**6))
@THOROUGH
def test_every_pool_name_is_a_name(key: FamilyKey, ordinal: int) -> None:
    """The longest group and framework still make a name that Kubernetes and KServe take."""
    assert check_pool_name(pool_name(key.group, family_id(key), ordinal), "name") is None


def test_a_backbone_is_not_a_pin() -> None:
    """Moving a word from one property to the next gives another family."""
    word = "minilm"
    ids = {
        family_id(FamilyKey(REALTIME, Framework("torch"), backbone, pin))
        for backbone in (None, word)
        for pin in (None, word)
    }
    assert len(ids) == 4


def test_equal_weights_fall_to_the_smaller_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties do not happen in practice; where they do, everybody breaks them alike."""

    class Same:
        def copy(self) -> Same:
            return self

        def update(self, data: bytes) -> None:
            del data

        def digest(self) -> bytes:
            return bytes(8)

    monkeypatch.setattr(hashing, "_ORDER", Same())
    assert list(rank_pools(ShardIndex(0), 0, reversed(pools(5)))) == sorted(pools(5))
