"""Every bot to be served, by family, with the sums that placement asks for kept while bots come, change and go.

Immutable: a change makes a new value that shares what did not change. So half a million bots are summed up once, and a
plan after a hundred changes costs those hundred.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from botshard.sharding.bot_map import BotMap
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import BotLoad
from botshard.sharding.hashing import HASH_BITS
from botshard.sharding.ids import BotId
from botshard.sharding.weights import NOTHING, Weight, shard_weights, shards_without_heaviest, weight_of

__all__ = ["BotLoads", "FamilyLoads"]

_Changes = list[tuple[BotLoad | None, BotLoad | None]]
"""Bots as they were and as they are; None: not there."""


class BotLoads(Collection[BotLoad]):
    """Bots by id and by family. Made by `of`, and from one another by `changed`."""

    __slots__ = ("_by_id", "_families")

    def __init__(self, by_id: BotMap[BotLoad], families: Mapping[FamilyKey, FamilyLoads], /) -> None:
        self._by_id = by_id
        self._families = families

    @classmethod
    def of(cls, bots: Iterable[BotLoad], /) -> BotLoads:
        """From nothing; `bots` itself where it is one already. Of two bots with one id the last counts."""
        if isinstance(bots, BotLoads):
            return bots
        by_id = {bot.id: bot for bot in bots}
        by_family: dict[FamilyKey, dict[BotId, BotLoad]] = {}
        for bot in by_id.values():
            by_family.setdefault(bot.key, {})[bot.id] = bot
        nothing: BotMap[BotLoad] = BotMap()
        families = {key: FamilyLoads(nothing.with_changes(mine)) for key, mine in by_family.items()}
        return cls(nothing.with_changes(by_id), families)

    def changed(self, put: Iterable[BotLoad], /, *, remove: Iterable[BotId] = ()) -> BotLoads:
        """With other bots in the place of those with the same ids, new ones added, some gone.

        Cost: O(changes), and copies of the parts that they are in.
        """
        wanted: dict[BotId, BotLoad | None] = dict.fromkeys(remove)
        wanted.update((bot.id, bot) for bot in put)
        by_family: dict[FamilyKey, _Changes] = {}
        done: dict[BotId, BotLoad | None] = {}
        for name, new in wanted.items():
            old = self._by_id.get(name)
            if old == new:
                continue
            if old is not None and new is not None and old.key == new.key:
                by_family.setdefault(old.key, []).append((old, new))
            else:
                if old is not None:
                    by_family.setdefault(old.key, []).append((old, None))
                if new is not None:
                    by_family.setdefault(new.key, []).append((None, new))
            done[name] = new
        if not by_family:
            return self
        families = dict(self._families)
        for key, changes in by_family.items():
            changed = families.get(key, _NO_BOTS).changed(changes)
            if len(changed.bots):
                families[key] = changed
            else:
                del families[key]
        return BotLoads(self._by_id.with_changes(done), families)

    @property
    def families(self) -> Mapping[FamilyKey, FamilyLoads]:
        """Bots of each family; none is empty."""
        return MappingProxyType(self._families)

    def get(self, bot_id: BotId, /) -> BotLoad | None:
        """One bot; None where there is no such."""
        return self._by_id.get(bot_id)

    def __iter__(self) -> Iterator[BotLoad]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, bot: object) -> bool:
        return isinstance(bot, BotLoad) and self._by_id.get(bot.id) == bot

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BotLoads) and self._by_id == other._by_id

    __hash__ = None  # type: ignore[assignment]  # equal by content, like the dictionaries in it


class FamilyLoads:
    """The bots of one family."""

    __slots__ = ("_weighed", "bots")

    def __init__(self, bots: BotMap[BotLoad], weighed: WeighedBots | None = None, /) -> None:
        self.bots = bots
        self._weighed = weighed

    def weighed(self, capacity: Weight, /) -> WeighedBots:
        """Their sums for pools of that capacity. Those of the capacity asked for last are kept."""
        if self._weighed is None or self._weighed.capacity != capacity:
            self._weighed = WeighedBots.of(self.bots.values(), capacity)
        return self._weighed

    def changed(self, changes: _Changes, /) -> FamilyLoads:
        """With some bots changed."""
        done: dict[BotId, BotLoad | None] = {}
        for old, new in changes:
            if new is not None:
                done[new.id] = new
            elif old is not None:
                done[old.id] = None
        bots = self.bots.with_changes(done)
        return FamilyLoads(bots, self._weighed and self._weighed.changed(bots.values(), changes))


class WeighedBots:
    """Bots of one family as a pool of a given capacity sees them: sums over those that fit into one at all."""

    __slots__ = ("_bots", "_shards", "big", "capacity", "oversized", "total")

    def __init__(
        self,
        bots: Collection[BotLoad],
        capacity: Weight,
        *,
        total: Weight,
        big: int,
        oversized: frozenset[BotId],
        shards: dict[int, list[Weight]],
    ) -> None:
        self._bots = bots
        self.capacity = capacity
        self.total = total
        """What those that fit weigh together."""
        self.big = big
        """How many of those that fit need more than half of a pool's bytes: no two of them share one."""
        self.oversized = oversized
        """Those that fit into no pool."""
        self._shards = shards

    @classmethod
    def of(cls, bots: Collection[BotLoad], capacity: Weight, /) -> WeighedBots:
        """Sum up. Cost: O(bots)."""
        most = capacity.footprint_bytes
        oversized = frozenset(bot.id for bot in bots if bot.footprint_bytes > most)
        big = sum(2 * bot.footprint_bytes > most for bot in bots) - len(oversized)
        weighed = cls(bots, capacity, total=NOTHING, big=big, oversized=oversized, shards={})
        (weighed.total,) = shard_weights(weighed.fitting(), 0, capacity)
        return weighed

    def changed(self, bots: Collection[BotLoad], changes: _Changes, /) -> WeighedBots:
        """The same sums after some changes; `bots` are all as they are then."""
        most = self.capacity.footprint_bytes
        total, big, oversized = self.total, self.big, set(self.oversized)
        shards = {bits: list(weights) for bits, weights in self._shards.items()}
        for old, new in changes:
            for bot, sign in ((old, -1), (new, 1)):
                if bot is None:
                    continue
                if bot.footprint_bytes > most:
                    (oversized.add if sign > 0 else oversized.discard)(bot.id)
                    continue
                big += sign * (2 * bot.footprint_bytes > most)
                weight = weight_of(bot, self.capacity).times(sign)
                total += weight
                for bits, weights in shards.items():
                    weights[bot.hash >> (HASH_BITS - bits)] += weight
        return WeighedBots(bots, self.capacity, total=total, big=big, oversized=frozenset(oversized), shards=shards)

    def fitting(self) -> Iterable[BotLoad]:
        """Bots that fit into a pool."""
        if not self.oversized:
            return self._bots
        return [bot for bot in self._bots if bot.id not in self.oversized]

    def shards(self, bits: int, /) -> list[Weight]:
        """What each of 2^bits shards carries; not to be changed. The two that were asked for last are kept."""
        found = self._shards.pop(bits, None)
        if found is None:
            found = shard_weights(self.fitting(), bits, self.capacity)
        while len(self._shards) > 1:
            del self._shards[next(iter(self._shards))]
        self._shards[bits] = found
        return found

    def shards_without_heaviest(self, bits: int, /) -> list[Weight]:
        """What each shard carries besides its heaviest bot, in each dimension: what splitting it could spread."""
        return shards_without_heaviest(self.fitting(), self.shards(bits), bits, self.capacity)

    def without(self, refused: Collection[BotId], /) -> WeighedBots:
        """The sums over the others."""
        return WeighedBots.of([bot for bot in self.fitting() if bot.id not in refused], self.capacity)


_NO_BOTS = FamilyLoads(BotMap())
