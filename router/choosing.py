"""The choice of a pool for one try, from what is known of the shard's pools. Every request comes by here.

What decides is elsewhere and pure: `router.select` (policies), `router.health` (ejection and slow start). Here it is
put together so that the usual case, all pools well, costs less than a microsecond: what a table says of a shard is
looked up once a table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import random
from typing import Final

from botshard.sharding.groups import RoutePolicy
from botshard.sharding.ids import GroupName, PoolName
from botshard.sharding.routing import GroupRoute, PoolRoute, RoutingTable
from router.cold import Cold, StartTimes
from router.errors import NoPoolError
from router.pools import Pools, PoolState
from router.select import Draw, PeakEwma, policy_of, untried, usable
from router.table import Routes

__all__ = ["Choosing"]

_MAYBE_COLD_AFTER_S: Final = 5.0
"""A non-realtime pool that has not answered for so long, and has nothing in flight, may be at zero."""


class _Shard:
    """What the table in force says of the pools of some shards."""

    __slots__ = ("budget_s", "cold_budget_s", "is_pair", "may_sleep", "policy", "pools", "routed")

    def __init__(self, routed: tuple[PoolRoute, ...], pools: tuple[PoolState, ...], group: GroupRoute) -> None:
        self.routed = routed  # held, so that no other tuple gets its identity
        self.pools = pools
        self.policy = policy_of(group)
        self.may_sleep = not group.realtime
        self.is_pair = len(pools) == 2 and group.realtime and group.chosen_by is RoutePolicy.LEAST_OUTSTANDING
        self.budget_s = group.request_timeout_s
        self.cold_budget_s = group.request_timeout_s + group.cold_start_timeout_s


class Choosing:
    """See the module. `choose` before every try."""

    def __init__(
        self,
        routes: Routes,
        pools: Pools,
        *,
        knock: Callable[[PoolState], Awaitable[bool]],
        max_cold_waiting: int,
        draw: Draw = random,
    ) -> None:
        """`knock`: ask a pool something that is answered at once. `draw`: numbers by chance."""
        self._routes = routes
        self._pools = pools
        self._knock = knock
        self._max_cold_waiting = max_cold_waiting
        self._draw = draw
        self._loop = asyncio.get_running_loop()
        self._table: RoutingTable | None = None
        self._shards: dict[int, _Shard] = {}
        """By identity of what the table gave: comparing tuples of pools would cost more than all the rest."""
        self._routed: dict[PoolName, PoolState] = {}
        self._starts: dict[GroupName, StartTimes] = {}

    def choose(
        self, bot_id: str, routed: tuple[PoolRoute, ...], failed: Mapping[PoolName, int], /
    ) -> tuple[PoolState, float]:
        """The pool to try next, and the seconds that a request to it may take.

        A pool that may be at zero has `cold` set: the request has to `enter` there before it is sent.

        Args:
            bot_id: whose request it is.
            routed: what the table in force gives for the bot.
            failed: how often each pool has failed this request.

        Raises: NoPoolError.
        """
        shard = self._shards.get(id(routed))
        if shard is None or self._table is not self._routes.table:
            shard = self._shard_of(bot_id, routed)
        pools = shard.pools
        if shard.is_pair and not failed:
            one, other = pools
            if one.health.is_plain and other.health.is_plain:
                return (one if one.outstanding <= other.outstanding else other), shard.budget_s
        now_s = self._loop.time()
        pool = self._pick(shard, now_s, failed)
        if shard.may_sleep and now_s - pool.answered_s > _MAYBE_COLD_AFTER_S:
            if pool.cold is None and not pool.outstanding:
                pool.cold = self._cold(pool)
            return pool, shard.cold_budget_s
        return pool, shard.budget_s

    def is_routed(self, pool: PoolState, /) -> bool:
        """Whether requests go there by the table in force."""
        table = self._routes.table
        if table is not None and table is not self._table:
            self._adopt(table)
        return self._routed.get(pool.route.name) is pool

    def _pick(self, shard: _Shard, now_s: float, failed: Mapping[PoolName, int]) -> PoolState:
        pools = shard.pools
        if len(pools) == 1:
            return pools[0]
        is_plain = True
        for pool in pools:
            if not pool.health.is_plain:
                pool.passed(now_s)
                is_plain = is_plain and pool.health.is_plain
        if failed:
            return untried(pools, failed)
        if is_plain:
            return shard.policy(pools, now_s, self._draw)
        return shard.policy(usable(pools, now_s, self._draw), now_s, self._draw)

    def _cold(self, pool: PoolState) -> Cold:
        return Cold(
            pool.route.name,
            loop=self._loop,
            most=self._max_cold_waiting,
            expected_s=pool.starts.expected_s,
            knock=lambda: self._knock(pool),
        )

    # ── what is looked up once a table ────────────────────────────────────────────────────────────────────────────────

    def _shard_of(self, bot_id: str, routed: tuple[PoolRoute, ...]) -> _Shard:
        table = self._routes.table
        if table is not None and table is not self._table:
            self._adopt(table)
        pools = tuple(pool for route in routed if (pool := self._pools.find(route.name)) is not None)
        group = table.groups.get(routed[0].group) if table is not None and routed else None
        if group is None or not pools:
            raise NoPoolError(f"bot {bot_id!r} has no pool yet", retry_after_s=1)
        shard = self._shards[id(routed)] = _Shard(routed, pools, group)
        return shard

    def _adopt(self, table: RoutingTable) -> None:
        """Another table is in force: who has requests by it that had none, and who has partners in some shard."""
        now_s = self._loop.time()
        before, is_first = self._routed, not self._routed
        self._table, self._shards, self._routed = table, {}, {}
        with_others: set[PoolName] = set()
        for family in table.families.values():
            group = table.groups[family.key.group]
            for names in set(family.shards):
                if len(names) > 1:
                    with_others.update(names)
                for name in names:
                    pool = self._pools.find(name)
                    if pool is not None and name not in self._routed:
                        self._routed[name] = pool
                        self._prepare(pool, group)
                        if not is_first and before.get(name) is not pool:
                            pool.health.is_new(now_s)
        for name, pool in self._routed.items():
            pool.health.can_eject = name in with_others

    def _prepare(self, pool: PoolState, group: GroupRoute) -> None:
        pool.starts.of_group = self._starts.setdefault(pool.route.group, StartTimes())
        if group.chosen_by is not RoutePolicy.RESPONSE_TIME:
            pool.latency = None
        elif pool.latency is None:
            pool.latency = PeakEwma()
