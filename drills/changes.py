"""Random re-shards, as an operator makes them: by `botshard apply`, or in the pool groups' file."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from botshard.sharding.ids import GroupName
from botshard.store.intents import read_intents
from drills.place import NON_REALTIME, REALTIME, GroupShape, Place

__all__ = ["Change", "random_change"]

_MOST_POOLS = 6
_REALTIME_SHARE = 0.75
_BOUNDS = {REALTIME: (12, 16, 24, 36, 60), NON_REALTIME: (4, 6, 10, 16)}


@dataclass(frozen=True, slots=True)
class Change:
    """One re-shard that is to be made."""

    kind: str
    """`add`, `merge`, `drain`, `split`, `join`, `copies`."""
    what: str
    make: Callable[[], None]
    """Makes it, and returns when the stack has settled. Raises: RuntimeError where it does not."""


def random_change(place: Place, chance: random.Random) -> Change:
    """One of those that are possible now."""
    group = REALTIME if chance.random() < _REALTIME_SHARE else NON_REALTIME
    kind = chance.choice(("add", "drain", "bound", "copies"))
    shape = place.shapes[group]
    family = place.family(group)
    pools = sorted(family.urls)
    match kind:
        case "add":
            if len(pools) < _MOST_POOLS:
                return _applied(place, "add", f"a pool to {group}", "--add", "1", "--family", family.id)
            if read_intents(place.store).more_pools.get(family.id):
                return _applied(place, "merge", f"pools of {group}", "--add", "0", "--family", family.id)
            return _shaped(place, group, replace(shape, bots=max(_BOUNDS[group])))
        case "drain":
            name = chance.choice(pools)
            return _applied(place, "drain", str(name), "--drain", name)
        case "bound":
            bots = chance.choice([bound for bound in _BOUNDS[group] if bound != shape.bots])
            return _shaped(place, group, replace(shape, bots=bots))
        case _:
            return _shaped(place, group, replace(shape, copies=3 - shape.copies))


def _applied(place: Place, kind: str, what: str, *arguments: str) -> Change:
    return Change(kind, what, lambda: place.apply(*arguments))


def _shaped(place: Place, group: GroupName, shape: GroupShape) -> Change:
    before = place.shapes[group]

    def make() -> None:
        place.shape(group, shape)
        place.apply()

    if shape.copies != before.copies:
        return Change("copies", f"{group}: {before.copies} → {shape.copies} pools a shard", make)
    kind = "split" if shape.bots < before.bots else "join"
    return Change(kind, f"{group}: {before.bots} → {shape.bots} bots a pool", make)
