"""Which bots a move would lose: those that do not load where their shard goes while they are served where it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from botshard.sharding.fleet import FailedLoad, Snapshot
from botshard.sharding.hashing import bot_hash, shard_of
from botshard.sharding.ids import BotId, PoolName, ShardIndex

__all__ = ["Loss", "Losses"]


@dataclass(frozen=True, slots=True)
class Loss:
    """A bot that a move would lose."""

    bot: BotId
    pool: PoolName
    """Where it does not load."""
    reason: str | None
    """None: its load has not ended yet."""


@dataclass(slots=True)
class Losses:
    """What the moves of one family would lose. Lives for one step."""

    snapshot: Snapshot
    bits: int
    """Of the family."""
    _by_pool: dict[PoolName, dict[ShardIndex, list[tuple[BotId, FailedLoad]]]] = field(default_factory=dict)

    def first(self, shard: ShardIndex, /, *, served_by: Iterable[PoolName], goes_to: Iterable[PoolName]) -> Loss | None:
        """A bot of the shard that would be lost, rather one that failed than one that still loads; None: there is none.

        A bot that fails on every replica of every pool that serves the shard loses nothing by a move.
        """
        losses = [
            Loss(bot, pool, failure.reason)
            for pool in goes_to
            for bot, failure in self._failing(pool).get(shard, ())
            if any(not self._fails_everywhere(bot, name) for name in served_by)
        ]
        return min(losses, key=lambda loss: (loss.reason is None, loss.bot, loss.pool), default=None)

    def _failing(self, pool: PoolName) -> Mapping[ShardIndex, list[tuple[BotId, FailedLoad]]]:
        """What fails in a pool, by shard."""
        found = self._by_pool.get(pool)
        if found is None:
            found = self._by_pool[pool] = {}
            for bot, failure in self.snapshot.failing.get(pool, {}).items():
                found.setdefault(shard_of(bot_hash(bot), self.bits), []).append((bot, failure))
        return found

    def _fails_everywhere(self, bot: BotId, pool: PoolName) -> bool:
        failure = self.snapshot.failing.get(pool, {}).get(bot)
        return failure is not None and failure.everywhere
