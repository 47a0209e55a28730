"""What the router knows of each pool while it runs: connections, requests in flight, counts. Follows the table."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from botshard.http1.answers import line
from botshard.sharding.ids import PoolName
from botshard.sharding.routing import PoolRoute
from router.heads import POOL
from router.limits import Limits
from router.metrics import PoolCounts
from router.origins import Address, Origin

__all__ = ["PoolState", "Pools"]


class PoolState:
    """One pool of the table in force."""

    __slots__ = ("answered_s", "counts", "line", "origin", "outstanding", "route")

    def __init__(self, route: PoolRoute, origin: Origin) -> None:
        self.route = route
        self.origin = origin
        self.line = line(POOL, route.name.encode())
        """The header line that names it to clients."""
        self.outstanding = 0
        """Requests of this router that the pool has not answered yet."""
        self.answered_s = float("-inf")
        """When the pool last began an answer, by the loop's clock."""
        self.counts = PoolCounts()


class Pools:
    """The pools of the table in force; a pool that left it loses its connections and its metrics."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Made when the first pool with an https URL is connected to: reading all authorities takes a while.
        self._tls = cache(ssl.create_default_context)
        self._pools: dict[PoolName, PoolState] = {}

    def __getitem__(self, name: PoolName) -> PoolState:
        return self._pools[name]

    def __iter__(self) -> Iterator[PoolState]:
        return iter(list(self._pools.values()))

    def __len__(self) -> int:
        return len(self._pools)

    def outstanding(self, name: PoolName, /) -> int:
        """Requests in flight at a pool of the table in force."""
        return self._pools[name].outstanding

    def follow(self, routes: Mapping[PoolName, PoolRoute], /) -> None:
        """Take the pools of a new table. Requests in flight keep the connection that they have.

        Raises: CallerError for a URL that cannot be connected to; nothing has changed then.
        """
        pools: dict[PoolName, PoolState] = {}
        for name, route in routes.items():
            held = self._pools.get(name)
            if held is not None and held.route == route:
                pools[name] = held
                continue
            state = PoolState(route, Origin(name, Address.of(route.url), self._limits, tls=self._tls))
            if held is not None:
                state.counts = held.counts
            pools[name] = state
        gone = [state for name, state in self._pools.items() if pools.get(name) is not state]
        self._pools = pools
        _close(gone)

    def close(self) -> None:
        """Close what is idle; nothing is kept alive from now on."""
        _close(self._pools.values())


def _close(states: Iterable[PoolState]) -> None:
    for state in states:
        state.origin.close()
