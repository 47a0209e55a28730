"""What the router knows of each pool while it runs: connections, requests in flight, health, counts. Follows the table.

`began` before and `ended` after each try are all that a request has to say.
"""

from __future__ import annotations

import logging
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from botshard.http1.answers import line
from botshard.logs import fields
from botshard.sharding.ids import GroupName, PoolName
from botshard.sharding.routing import PoolRoute
from router.budget import Budget
from router.cold import Cold, StartTimes, Turn
from router.connections import Connections, Place
from router.errors import OverloadedError
from router.heads import POOL
from router.health import Health, HealthRules, Why
from router.limits import Limits
from router.metrics import PoolCounts
from router.origins import Address, Origin
from router.select import PeakEwma

__all__ = ["PoolState", "Pools"]

log = logging.getLogger("router.pools")


class PoolState:
    """One pool of the table in force."""

    __slots__ = (
        "answered_s",
        "budget",
        "cold",
        "counts",
        "free_bytes",
        "health",
        "latency",
        "line",
        "origin",
        "outstanding",
        "route",
        "starts",
    )

    def __init__(self, route: PoolRoute, origin: Origin, budget: Budget, rules: HealthRules | None = None) -> None:
        self.route = route
        self.origin = origin
        self.budget = budget
        """Of the pool's group: what may be tried again."""
        self.line = line(POOL, route.name.encode())
        """The header line that names it to clients."""
        self.outstanding = 0
        """Requests of this router that the pool has not answered yet."""
        self.answered_s = float("-inf")
        """When the pool last answered, by the loop's clock."""
        self.health = Health(rules or HealthRules())
        self.cold: Cold | None = None
        """Set while the pool may be at zero: who asks it has to `enter` first."""
        self.starts = StartTimes()
        self.latency: PeakEwma | None = None
        """Kept where its group chooses by it."""
        self.free_bytes: int | None = None
        """Of its replicas' GPU memory, the least; kept where its group chooses by it. None: they do not say."""
        self.counts = PoolCounts()

    # ── tries ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def enter(self) -> Turn | None:
        """Before a try at a pool that may be at zero; None: it is there.

        Raises: OverloadedError where as many requests wait for its start as may.
        """
        if self.cold is None:
            return None
        try:
            turn = self.cold.enter()
        except OverloadedError:
            self.counts.choice.cold_refused += 1
            raise
        if turn.came is not None:
            self.counts.choice.cold_waits += 1
        return turn

    def began(self) -> None:
        """A try begins."""
        self.outstanding += 1

    def ended(self, answered: bool | None, took_s: float, now_s: float, /) -> None:  # noqa: FBT001 - every request
        """A try is over.

        Args:
            answered: a replica of the pool has answered, whatever it said; False: no replica did; None: nobody can
                tell, since the client went, or its time was up.
            took_s: from the try's beginning to the head of its answer, or to its end.
            now_s: the loop's time.
        """
        self.outstanding -= 1
        if self.latency is not None:
            (self.latency.note if answered else self.latency.at_least)(took_s, now_s)
        if answered:
            self.answered_s = now_s
            if self.health.was_answered(now_s):
                self._is_back()
            if self.cold is not None:
                self._is_awake(now_s)
        elif answered is False and self.health.was_not_answered(now_s):
            self._is_ejected(now_s)

    def shows_itself(self, now_s: float, /) -> None:
        """An answer of the pool has begun, to whomever."""
        self.answered_s = now_s
        if self.cold is not None:
            self._is_awake(now_s)

    def was_probed(self, now_s: float, /, *, is_there: bool) -> None:
        """A probe was answered, or not."""
        if is_there:
            self.answered_s = now_s
        if self.health.was_probed(now_s, is_there=is_there):
            self._is_back() if is_there else self._is_ejected(now_s)

    def was_outlier(self, now_s: float, /) -> None:
        """Requests fail here more than at the other pools."""
        if self.health.was_outlier(now_s):
            self._is_ejected(now_s)

    def passed(self, now_s: float, /) -> None:
        """Time has passed."""
        if self.health.passed(now_s):
            self._is_back()

    # ── what a policy sees, see `router.select.Choosable` ─────────────────────────────────────────────────────────────

    @property
    def is_ejected(self) -> bool:
        """Whether it is better left alone."""
        return self.health.why is not None

    def share(self, now_s: float, /) -> float:
        """The part of its requests that it is given."""
        return self.health.share(now_s)

    # ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """The pool has left the table. Who waits for it chooses anew."""
        self._dissolve()

    def _is_ejected(self, now_s: float) -> None:
        why = self.health.why or Why.FAILURES
        self.counts.choice.ejected(why)
        self._dissolve()
        event = fields(pool=self.route.name, why=why, for_s=round(self.health.ejected_until_s - now_s, 3))
        log.warning("pool ejected", extra=event)

    def _is_back(self) -> None:
        self.counts.choice.returns += 1
        log.info("pool is back", extra=fields(pool=self.route.name))

    def _is_awake(self, now_s: float) -> None:
        assert self.cold is not None  # noqa: S101 - asked by the callers
        cold, self.cold = self.cold, None
        took_s = cold.answered(now_s)
        if took_s is not None:
            self.starts.note(took_s)
            self.counts.choice.woken(took_s)
            log.info("pool has started", extra=fields(pool=self.route.name, took_s=round(took_s, 3)))

    def _dissolve(self) -> None:
        cold, self.cold = self.cold, None
        if cold is not None:
            cold.dissolve()


class Pools:
    """The pools of the table in force.

    A pool that left it loses its metrics, and a place where no pool is any more its connections.
    """

    def __init__(
        self,
        limits: Limits,
        rules: HealthRules | None = None,
        *,
        gateway: str | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """`gateway`: where to connect for all pools, whatever the table says.

        `tls` gives the context for each connection to an https URL; without it, the system's authorities.
        """
        self._limits = limits
        self._rules = rules
        self._gateway = gateway
        # Made when the first pool with an https URL is connected to: reading all authorities takes a while.
        self._tls = tls or cache(ssl.create_default_context)
        self._pools: dict[PoolName, PoolState] = {}
        self._connections: dict[Place, Connections] = {}
        self._budgets: dict[GroupName, Budget] = {}

    def __getitem__(self, name: PoolName) -> PoolState:
        return self._pools[name]

    def __iter__(self) -> Iterator[PoolState]:
        return iter(list(self._pools.values()))

    def __len__(self) -> int:
        return len(self._pools)

    def find(self, name: PoolName, /) -> PoolState | None:
        """The pool, if it is in the table in force."""
        return self._pools.get(name)

    def follow(self, routes: Mapping[PoolName, PoolRoute], /) -> None:
        """Take the pools of a new table. Requests in flight keep the connection that they have.

        Raises: CallerError for a URL that cannot be connected to; nothing has changed then.
        """
        pools: dict[PoolName, PoolState] = {}
        addresses = {name: Address.of_route(route, self._gateway) for name, route in routes.items()}
        connections = self._connections_for(addresses.values())
        budgets = {route.group: self._budgets.get(route.group) or Budget() for route in routes.values()}
        for name, route in routes.items():
            held = self._pools.get(name)
            if held is not None and held.route == route:
                pools[name] = held
                continue
            address = addresses[name]
            origin = Origin(name, address, self._limits, connections[address.place])
            state = PoolState(route, origin, budgets[route.group], self._rules)
            if held is not None:
                state.counts = held.counts
            pools[name] = state
        left_pools = [state for name, state in self._pools.items() if pools.get(name) is not state]
        left_places = [left for place, left in self._connections.items() if place not in connections]
        self._pools, self._connections, self._budgets = pools, connections, budgets
        for state in left_pools:
            state.close()
        for left in left_places:
            left.close()

    def _connections_for(self, addresses: Iterable[Address]) -> dict[Place, Connections]:
        pools_at = Counter(address.place for address in addresses)
        found = {}
        for place, pools in pools_at.items():
            found[place] = self._connections.get(place) or Connections(place, self._limits, tls=self._tls)
            found[place].share(among=pools)
        return found

    @property
    def shared(self) -> list[Connections]:
        """Connections to places where more than one pool is."""
        return [connections for connections in self._connections.values() if connections.is_shared]

    def close(self) -> None:
        """Close what is idle; nothing is kept alive from now on."""
        for state in self._pools.values():
            state.close()
        for connections in self._connections.values():
            connections.close()
