"""Where pools live: the one seam between the controller and a machine or a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from botshard.sharding.fleet import PoolSpec, PoolStatus
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import GroupName, PoolName

__all__ = ["PoolHome"]


class PoolHome(Protocol):
    """Makes pools and says how they are. Each call is idempotent and may raise WorldError."""

    def statuses(self) -> Mapping[PoolName, PoolStatus]:
        """Every pool that there is, as it is now."""
        ...

    def groups(self) -> Mapping[GroupName, PoolGroupSpec]:
        """The pool groups of the pools that are wanted, as these were specified last."""
        ...

    def ensure(self, specs: Iterable[PoolSpec], /) -> bool:
        """Make these pools as specified; True where that changed anything."""
        ...

    def remove(self, names: Iterable[PoolName], /) -> bool:
        """Take these pools away; True where that changed anything."""
        ...
