"""Every hash of the system, in one file: bot, family, pool name, order of pools.

All of them are BLAKE2b (RFC 7693) with a digest of 8 bytes, read as a big-endian integer, under a key that says what is
hashed, so that no value of one kind can stand for another. Keyed BLAKE2b is in every language's library, and its
result does not depend on machine, process or version; Python's own `hash` does. `docs/placement.md` states the same
computation in words, `tests/golden/` pins it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.errors import CallerError
from botshard.sharding.ids import FamilyId, GroupName, PoolName, ShardIndex

__all__ = [
    "HASH_BITS",
    "MAX_SHARD_BITS",
    "RendezvousOrder",
    "bot_hash",
    "catalog_object_index",
    "family_id",
    "pool_name",
    "rank_pools",
    "shard_of",
]

HASH_BITS = 64
MAX_SHARD_BITS = 20
"""A family of 2^20 shards is far beyond any fleet; a larger number in a table is damage."""

_BOT = blake2b(digest_size=8, key=b"botshard.bot.v1")
_FAMILY = blake2b(digest_size=8, key=b"botshard.family.v1")
_POOL = blake2b(digest_size=8, key=b"botshard.pool.v1")
_ORDER = blake2b(digest_size=8, key=b"botshard.order.v1")


def bot_hash(bot_id: str, /) -> int:
    """`H(bot id)`: 64 bits of keyed BLAKE2b over the id in UTF-8."""
    # Copying a keyed state skips the key block: a third faster than giving the key again.
    state = _BOT.copy()
    state.update(bot_id.encode())
    return int.from_bytes(state.digest(), "big")


def family_id(key: FamilyKey, /) -> FamilyId:
    """`<framework>-<first 8 hex digits>` of the hash over group, framework, backbone and pin.

    The four are joined by a line feed, an absent one is empty; none of them can hold a line feed.
    """
    state = _FAMILY.copy()
    state.update("\n".join((key.group, key.framework, key.backbone or "", key.pin or "")).encode())
    return FamilyId(f"{key.framework}-{state.hexdigest()[:8]}")


def pool_name(group: GroupName, family: FamilyId, ordinal: int, /) -> PoolName:
    """`<group>-<family id>-<first 6 hex digits>` of the hash over family id, a line feed and the ordinal in decimal."""
    state = _POOL.copy()
    state.update(f"{family}\n{ordinal}".encode())
    return PoolName(f"{group}-{family}-{state.hexdigest()[:6]}")


def shard_of(hash_of_bot: int, bits: int, /) -> ShardIndex:
    """The first `bits` bits of a bot's hash. 0 bits: everything is shard 0."""
    return ShardIndex(hash_of_bot >> (HASH_BITS - bits))


def rank_pools(shard: ShardIndex, bits: int, pools: Iterable[PoolName], /) -> tuple[PoolName, ...]:
    """`pools` in the rendezvous order of one shard, best first (highest random weight; Thaler and Ravishankar, 1998).

    The weight of a pool is the hash over the shard's lowest possible bot hash (8 bytes, big endian) and the pool's
    name. A shard that splits in two thus leaves its order to the lower half. Equal weights: the smaller name first.
    """
    if not 0 <= shard < 1 << bits:
        raise CallerError(f"shard {shard} does not exist with {bits} bits")
    prefix = _order_prefix(shard, bits)

    def weight(name: PoolName) -> bytes:
        state = prefix.copy()
        state.update(name.encode())
        return state.digest()

    return tuple(sorted(sorted(pools), key=weight, reverse=True))


class RendezvousOrder:
    """The order of `rank_pools` for the shards of one family among the same pools, which it calls by their position.

    What `rank_pools` says in names, this says in numbers, for placements that ask it thousands of times.
    """

    __slots__ = ("_bits", "_names")

    def __init__(self, bits: int, pools: Iterable[PoolName], /) -> None:
        """Args: bits: of the family. pools: in order of name."""
        self._bits = bits
        self._names = [name.encode() for name in pools]

    def of(self, shard: ShardIndex, /) -> list[int]:
        """All pools, best first."""
        weights = self.weights(shard, range(len(self._names)))
        return sorted(range(len(weights)), key=weights.__getitem__, reverse=True)

    def weights(self, shard: ShardIndex, pools: Iterable[int], /) -> list[bytes]:
        """How much a shard wants each of some pools: 8 bytes to compare as they are."""
        prefix = _order_prefix(shard, self._bits)
        names, weights = self._names, []
        for pool in pools:
            state = prefix.copy()
            state.update(names[pool])
            weights.append(state.digest())
        return weights

    def first_guess(self, shard: ShardIndex, /) -> int:
        """A pool for a shard that carries nothing: one hash, not one for each pool."""
        return int.from_bytes(_order_prefix(shard, self._bits).digest(), "big") % len(self._names)


def _order_prefix(shard: ShardIndex, bits: int) -> blake2b:
    state = _ORDER.copy()
    state.update((shard << (HASH_BITS - bits)).to_bytes(8, "big"))
    return state


def catalog_object_index(hash_of_bot: int, /) -> int:
    """Which of the catalog's 256 objects holds a bot: the first byte of its hash."""
    return hash_of_bot >> (HASH_BITS - 8)
