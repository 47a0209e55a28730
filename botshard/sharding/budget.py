"""How many bots come to a pool at the same time: moves wait for their turn, the busiest shards first."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from botshard.sharding.ids import PoolName

__all__ = ["BOTS_PER_POOL", "Turns"]

BOTS_PER_POOL = 200
"""Bots that come to one pool at the same time, unless its controller is told otherwise."""


@dataclass(slots=True)
class Turns:
    """Who may come to the pools of one family now. Lives for one step."""

    most_bots: int
    """Per pool. A shard that has more goes alone."""
    _coming: dict[PoolName, float] = field(default_factory=dict)
    _closed: set[PoolName] = field(default_factory=set)

    def count(self, pools: Iterable[PoolName], bots: float, /) -> None:
        """A shard of so many bots is on its way to `pools` already."""
        for name in pools:
            self._coming[name] = self._coming.get(name, 0) + bots

    def admit(self, pools: Collection[PoolName], bots: float, /) -> bool:
        """Whether a shard of so many bots may come to `pools` now; it is counted if it may. Ask for the busiest first.

        A pool that has no room for one shard is closed for those behind it, so that many small shards do not overtake
        a big one for ever. Pools that it would have had room in stay open: what waits for one pool must not hold up
        another.
        """
        if not bots:
            return True
        full = [name for name in pools if 0 < self._coming.get(name, 0) > self.most_bots - bots]
        if full or not self._closed.isdisjoint(pools):
            self._closed.update(full)
            return False
        self.count(pools, bots)
        return True
