"""Something of every bot, by id, in parts: a change copies the parts that it touches and shares all others.

Half a million bots in one dictionary could be changed in two ways only: in place, under the hands of whoever goes
through it, or by a copy of the whole. Here no part changes once it is in a map: a map holds still for ever, costs the
slots of its ids and nothing else, and its successor costs the parts that differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from botshard.sharding.ids import BotId

__all__ = ["BotMap"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_PARTS = 256
_MASK = _PARTS - 1


class BotMap(Mapping[BotId, T_co]):
    """Immutable. In which part a bot is, its string's own hash says: a lookup is that of a dictionary and an index."""

    __slots__ = ("_parts",)

    _parts: tuple[Mapping[Any, T_co], ...]

    def __init__(self) -> None:
        self._parts = ({},) * _PARTS

    def with_changes(self: BotMap[T], changes: Mapping[BotId, T | None], /) -> BotMap[T]:
        """This map with other entries for some bots; None: without the bot. Ids that stay are the same objects."""
        parts = list(self._parts)
        own: dict[int, dict[BotId, T]] = {}
        for bot_id, entry in changes.items():
            index = hash(bot_id) & _MASK
            part = own.get(index)
            if part is None:
                part = own[index] = dict(parts[index])
            if entry is None:
                part.pop(bot_id, None)
            else:
                part[bot_id] = entry
        for index, part in own.items():
            parts[index] = part
        successor: BotMap[T] = BotMap()
        successor._parts = tuple(parts)
        return successor

    def __getitem__(self, bot_id: BotId, /) -> T_co:
        return self._parts[hash(bot_id) & _MASK][bot_id]

    def find(self, bot_id: str, /) -> T_co | None:
        """As `get`, and not by way of an exception where there is no such bot: a router is here in every request."""
        return self._parts[hash(bot_id) & _MASK].get(bot_id)

    def __iter__(self) -> Iterator[BotId]:
        for part in self._parts:
            yield from part

    def __len__(self) -> int:
        return sum(map(len, self._parts))
