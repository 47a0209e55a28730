"""What an operator's options mean: from `--add`, `--drain`, `--quarantine` to what is asked of the controller. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches

from botshard.cli.errors import CommandError, WrongUsageError
from botshard.sharding.fleet import Snapshot
from botshard.sharding.ids import FamilyId, PoolName
from botshard.store.intents import MOST_POOLS, Intents

__all__ = ["Wish", "wished_intents", "with_intents"]


@dataclass(frozen=True, slots=True)
class Wish:
    """The options of `plan` and `apply`."""

    add: int | None = None
    """Pools more than stay now; 0: no floor any more; None: not said."""
    family: str | None = None
    drain: tuple[str, ...] = ()
    undo_drain: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()
    undo_quarantine: tuple[str, ...] = ()


def wished_intents(intents: Intents, wish: Wish, snapshot: Snapshot, /) -> Intents:
    """What is asked for once `wish` is added to what is asked for already.

    Raises: WrongUsageError, CommandError naming what there is.
    """
    table = snapshot.table
    known = set(table.pools) if table else set()
    changed = replace(
        intents,
        drain=_changed(intents.drain, "drained", known, more=wish.drain, fewer=wish.undo_drain),
        quarantine=_changed(intents.quarantine, "quarantined", known, more=wish.quarantine, fewer=wish.undo_quarantine),
    )
    if wish.add is None:
        if wish.family is not None:
            raise WrongUsageError("--family says where --add adds; give --add N with it")
        return changed
    # What was asked for a family that has gone meanwhile can still be taken back.
    family = _family(wish.family, snapshot, asked=() if wish.add else intents.more_pools)
    more = dict(intents.more_pools)
    floor = more.pop(family, 0)
    if wish.add:
        routes = table.families[family] if table else None
        staying = len(set(routes.urls) - changed.leaving) if routes else 0
        more[family] = max(staying, floor) + wish.add
        if more[family] > MOST_POOLS:
            raise WrongUsageError(
                f"family {family} would have {more[family]} pools, at most {MOST_POOLS} can be asked for"
            )
    return replace(changed, more_pools=more)


def _changed(
    asked: tuple[PoolName, ...], how: str, known: set[PoolName], *, more: tuple[str, ...], fewer: tuple[str, ...]
) -> tuple[PoolName, ...]:
    """Pools that are asked to be left, with some more and some fewer."""
    pools = set(asked)
    for name in fewer:
        if name not in pools:
            raise CommandError(f"{name} is not being {how}; {_those(f'{how} pools', pools)}")
        pools.discard(PoolName(name))
    for name in more:
        if name not in known:
            raise CommandError(f"there is no pool {name}; {_nearest(name, known)}")
        pools.add(PoolName(name))
    return tuple(sorted(pools))


def with_intents(snapshot: Snapshot, intents: Intents, /) -> Snapshot:
    """The same world with this asked for."""
    return replace(
        snapshot,
        leaving=intents.leaving,
        more_pools=intents.more_pools,
        quarantined=frozenset(intents.quarantine),
    )


def _family(name: str | None, snapshot: Snapshot, *, asked: Iterable[FamilyId]) -> FamilyId:
    families: list[FamilyId] = sorted({*(snapshot.table.families if snapshot.table else ()), *asked})
    if name is None:
        if len(families) == 1:
            return families[0]
        raise WrongUsageError(f"--add needs --family; {_those('families', families)}")
    if name not in families:
        raise CommandError(f"there is no family {name}; {_nearest(name, families)}")
    return FamilyId(name)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.8)
    return f"did you mean {near[0]}?" if near else _those("known ones", known)


def _those(what: str, names: Iterable[str]) -> str:
    shown = sorted(names)
    if not shown:
        return f"there are no {what}"
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return f"{what}: {', '.join(shown[:5])}{more}"
