"""How many bots come to a pool at the same time: moves wait for their turn, the busiest shards first."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import BotLoad
from botshard.sharding.hashing import HASH_BITS
from botshard.sharding.ids import PoolName, ShardIndex

__all__ = ["BOTS_PER_POOL", "Burden", "Turns", "burdens"]

BOTS_PER_POOL = 200
"""Bots that come to one pool at the same time, unless its controller is told otherwise."""


@dataclass(slots=True)
class Burden:
    """What one shard brings to a pool that it comes to."""

    bots: int = 0
    rate_per_s: float = 0.0


def burdens(
    bots: Iterable[BotLoad], key: FamilyKey, bits: int, shards: Collection[ShardIndex], /
) -> dict[ShardIndex, Burden]:
    """What each of some shards of a family brings. Cost: one look at each bot."""
    found = {shard: Burden() for shard in shards}
    shift = HASH_BITS - bits
    for bot in bots:
        # The number decides most of it, and is cheaper to compare than four texts.
        burden = found.get(ShardIndex(bot.hash >> shift))
        if burden is not None and bot.key == key:
            burden.bots += 1
            burden.rate_per_s += bot.rate_per_s
    return found


@dataclass(slots=True)
class Turns:
    """Who may come to the pools of one family now. Lives for one step."""

    most_bots: int
    """Per pool. A shard that has more goes alone."""
    _coming: dict[PoolName, int] = field(default_factory=dict)
    _closed: set[PoolName] = field(default_factory=set)

    def count(self, pools: Iterable[PoolName], burden: Burden, /) -> None:
        """A shard is on its way to `pools` already."""
        for name in pools:
            self._coming[name] = self._coming.get(name, 0) + burden.bots

    def admit(self, pools: Collection[PoolName], burden: Burden, /) -> bool:
        """Whether a shard may come to `pools` now; it is counted if it may. Ask for the busiest first.

        A pool that has no room for one shard is closed for those behind it, so that many small shards do not overtake
        a big one for ever. Pools that it would have had room in stay open: what waits for one pool must not hold up
        another.
        """
        if not burden.bots:
            return True
        full = [name for name in pools if 0 < self._coming.get(name, 0) > self.most_bots - burden.bots]
        if full or not self._closed.isdisjoint(pools):
            self._closed.update(full)
            return False
        self.count(pools, burden)
        return True
