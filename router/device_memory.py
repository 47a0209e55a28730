"""Free GPU memory of pools, from what their replicas report to the store. Read only where a group chooses by it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Final

from botshard.logs import fields
from botshard.sharding.errors import WorldError
from botshard.sharding.groups import RoutePolicy
from botshard.sharding.ids import PoolName
from botshard.store.base import ObjectStore
from botshard.store.reports import ReplicaReport, ReportFollower
from router.pools import Pools
from router.table import Routes

__all__ = ["DeviceMemory", "free_bytes_of"]

_LOOK_S: Final = 5.0
_BELIEVED_S: Final = 60.0
"""A replica without news writes its report each quarter of a minute; an older one is of a replica that is gone."""

log = logging.getLogger("router.device_memory")


def free_bytes_of(reports: Iterable[ReplicaReport], now_s: float, /) -> int | None:
    """The least that is free at one of a pool's replicas, any of which may get a request; None: none of them says."""
    said = [
        report.device_free_bytes
        for report in reports
        if report.device_free_bytes is not None and now_s - report.at_s < _BELIEVED_S
    ]
    return min(said, default=None)


class DeviceMemory:
    """Reads reports every few seconds, as long as a group of the table in force chooses by them."""

    def __init__(self, routes: Routes, pools: Pools, store: ObjectStore) -> None:
        self._routes = routes
        self._pools = pools
        self._store = store
        self._followers: dict[PoolName, ReportFollower] = {}
        self._looking: asyncio.Task[None] | None = None
        self._problem = ""

    def start(self) -> None:
        """Look from now on, until `stop`."""
        self._looking = asyncio.create_task(self._keep_looking(), name="GPU memory of pools")

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
                self._problem = ""
            except WorldError as error:  # what was read last stays
                if str(error) != self._problem:
                    log.warning("reports of replicas cannot be read", extra=fields(problem=str(error)))
                self._problem = str(error)
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Read the reports of all pools whose group chooses by them.

        Raises: StoreError.
        """
        table = self._routes.table
        groups = (
            set() if table is None else {n for n, g in table.groups.items() if g.chosen_by is RoutePolicy.DEVICE_MEMORY}
        )
        wanted = {pool.route.name for pool in self._pools if pool.route.group in groups} if groups else set()
        self._followers = {name: self._followers.get(name) or ReportFollower(self._store, name) for name in wanted}
        if not wanted:
            return
        found = await asyncio.to_thread(self._read, dict(self._followers))
        for pool in self._pools:
            pool.free_bytes = found.get(pool.route.name)

    def _read(self, followers: dict[PoolName, ReportFollower]) -> dict[PoolName, int | None]:
        now_s = time.time()
        return {name: free_bytes_of(follower.refresh().values(), now_s) for name, follower in followers.items()}
