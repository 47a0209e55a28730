"""Pools of which nothing is known but what the table says: the store is looked at from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from botshard.cli.errors import CommandError
from botshard.sharding.fleet import PoolSpec, PoolStatus
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import GroupName, PoolName

__all__ = ["UnknownPools"]


class UnknownPools:
    """The controller's home as seen by somebody who has none."""

    def statuses(self) -> Mapping[PoolName, PoolStatus]:
        """None is known."""
        return {}

    def groups(self) -> Mapping[GroupName, PoolGroupSpec]:
        """None is known."""
        return {}

    def ensure(self, _specs: Iterable[PoolSpec], /) -> bool:
        """Nothing is made from here. Raises: CommandError."""
        raise CommandError("pools are made by the shard controller alone")

    def remove(self, _names: Iterable[PoolName], /) -> bool:
        """Nothing is taken away from here. Raises: CommandError."""
        raise CommandError("pools are taken away by the shard controller alone")
