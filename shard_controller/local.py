"""Pools as processes of this machine: writes down what is wanted; the stack's keeper makes it so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from botshard.local.home import LocalHome
from botshard.sharding.fleet import PoolSpec, PoolStatus
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import GroupName, PoolName

__all__ = ["LocalPools"]


class LocalPools:
    """The `PoolHome` of a local stack."""

    def __init__(self, home: LocalHome, /) -> None:
        self._home = home

    def statuses(self) -> Mapping[PoolName, PoolStatus]:
        """Every pool that the keeper has, as it last said."""
        return self._home.statuses()

    def groups(self) -> Mapping[GroupName, PoolGroupSpec]:
        """The pool groups of the pools that are wanted."""
        return {spec.group.name: spec.group for spec in self._home.specs() or ()}

    def ensure(self, specs: Iterable[PoolSpec], /) -> bool:
        """Have these pools among the wanted ones."""
        before = self._home.specs()
        wanted = {spec.name: spec for spec in before or ()}
        wanted.update((spec.name, spec) for spec in specs)
        return self._write(before, wanted)

    def remove(self, names: Iterable[PoolName], /) -> bool:
        """Have these pools no longer among the wanted ones."""
        before = self._home.specs()
        gone = set(names)
        return self._write(before, {spec.name: spec for spec in before or () if spec.name not in gone})

    def _write(self, before: tuple[PoolSpec, ...] | None, wanted: Mapping[PoolName, PoolSpec]) -> bool:
        after = tuple(wanted[name] for name in sorted(wanted))
        if after == before:
            return False
        self._home.write_specs(after)
        return True
