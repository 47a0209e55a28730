"""Probes: pools of which nothing is heard are asked whether they are there, so that no request has to find out.

Asked are realtime pools that are ejected, that let requests wait without answering any, and now and then those that
nobody asks anything. A pool that may be at zero is never probed: that would wake it. A probe is one small request over
the pool's own connections; how many there are at a time is bounded, and chance keeps routers from asking together.

Besides, all that time alone decides about pools is done here, once a second: ejections that are over, and the
comparison of what came of the requests at each of them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from random import random
from typing import Final

from botshard.sharding.ids import FamilyId
from router.answers import judge
from router.choosing import Choosing
from router.errors import LostError, OverloadedError, UpstreamError
from router.heads import read_answer_head
from router.health import HealthRules, Tally, outcome_of, outliers
from router.pools import Pools, PoolState
from router.select import Draw
from router.table import Routes
from router.upstream import Connection

__all__ = ["ProbeRules", "Prober", "probe"]

_LOOK_S: Final = 1.0
_NOT_READY: Final = 503
_KNOCK_S: Final = 60.0
"""No start takes longer; whoever waits has given up before."""

log = logging.getLogger("router.probing")


@dataclass(frozen=True, slots=True)
class ProbeRules:
    """When a realtime pool is probed."""

    idle_s: float = 10.0
    """Nobody has heard of it for so long; 0: no pool is probed ever."""
    silent_s: float = 2.0
    """Requests are in flight, and none was answered for so long."""
    ejected_s: float = 1.0
    """Between two probes of an ejected pool."""
    within_s: float = 2.0
    """What an answer may take."""
    most: int = 8
    """Probes at a time, and begun a second."""


class Prober:
    """Looks once a second after all pools. `start`, and `stop` at the end."""

    def __init__(
        self,
        routes: Routes,
        pools: Pools,
        choosing: Choosing,
        *,
        health: HealthRules,
        rules: ProbeRules,
        draw: Draw = random,
    ) -> None:
        self._routes = routes
        self._pools = pools
        self._choosing = choosing
        self._health = health
        self._rules = rules
        self._draw = draw
        self._loop = asyncio.get_running_loop()
        self._looking: asyncio.Task[None] | None = None
        self._probes: dict[PoolState, asyncio.Task[None]] = {}
        self._probed_s: dict[PoolState, float] = {}
        self._window_ends_s = self._loop.time() + health.window_s

    def start(self) -> None:
        """Look from now on, until `stop`."""
        self._looking = self._loop.create_task(self._keep_looking(), name="health of pools")

    async def stop(self) -> None:
        """End all probes."""
        tasks = [task for task in (self._looking, *self._probes.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S * (0.75 + 0.5 * self._draw()))
            try:
                self.look()
            except Exception:
                # A bug of ours must not leave an ejected pool out for ever.
                log.exception("look after pools failed")

    def look(self) -> None:
        """Do what is due."""
        now_s = self._loop.time()
        pools = list(self._pools)
        for pool in pools:
            pool.passed(now_s)
        if now_s >= self._window_ends_s:
            self._window_ends_s = now_s + self._health.window_s
            self._compare(pools, now_s)
        if self._rules.idle_s:
            self._probe_some(pools, now_s)

    def _compare(self, pools: list[PoolState], now_s: float) -> None:
        families: dict[FamilyId, dict[PoolState, Tally]] = {}
        for pool in pools:
            tally = pool.health.take_tally()
            if sum(tally):
                families.setdefault(pool.route.family, {})[pool] = tally
        for tallies in families.values():
            for pool in outliers(tallies, self._health):
                pool.was_outlier(now_s)

    def _probe_some(self, pools: list[PoolState], now_s: float) -> None:
        table = self._routes.table
        if table is None:
            return
        known = set(pools)
        self._probed_s = {pool: at_s for pool, at_s in self._probed_s.items() if pool in known}
        due = [
            (overdue_s, index, pool)
            for index, pool in enumerate(pools)
            if (overdue_s := self._overdue_s(pool, now_s)) >= 0
            and (group := table.groups.get(pool.route.group)) is not None
            and group.realtime
            and pool not in self._probes
            and self._choosing.is_routed(pool)
        ]
        due.sort(key=lambda item: (not item[2].is_ejected, not item[2].outstanding, -item[0], item[1]))
        for _, _, pool in due[: self._rules.most - len(self._probes)]:
            self._probed_s[pool] = now_s
            task = self._probes[pool] = self._loop.create_task(self._probe(pool), name=f"probe of {pool.route.name}")
            task.add_done_callback(lambda _, pool=pool: self._probes.pop(pool, None))  # type: ignore[misc]

    def _overdue_s(self, pool: PoolState, now_s: float) -> float:
        """For how long the pool should have been probed; negative: not yet."""
        rules = self._rules
        heard_s = max(pool.answered_s, self._probed_s.get(pool, float("-inf")))
        if heard_s == float("-inf"):
            self._probed_s[pool] = now_s - rules.idle_s * self._draw()  # not all of them together
            return -1.0
        if pool.is_ejected:
            every_s = rules.ejected_s
            heard_s = self._probed_s.get(pool, float("-inf"))
        elif pool.outstanding:
            every_s = rules.silent_s
        else:
            every_s = rules.idle_s * (0.75 + 0.5 * self._draw())
        return now_s - heard_s - every_s

    async def _probe(self, pool: PoolState) -> None:
        is_there = await probe(pool, within_s=self._rules.within_s)
        if is_there is not None:
            pool.was_probed(self._loop.time(), is_there=is_there)


async def knock(pool: PoolState, /) -> bool:
    """See `router.cold.Knock`."""
    is_there = await probe(pool, within_s=_KNOCK_S)
    if is_there:
        pool.shows_itself(asyncio.get_running_loop().time())
    return bool(is_there)


class _Waiting:
    """Waits for the whole answer of a probe."""

    def __init__(self, connection: Connection, done: asyncio.Future[None]) -> None:
        self._connection = connection
        self._done = done

    def came(self) -> None:
        """See `router.upstream.Asker`."""
        if (self._connection.finished or self._connection.error is not None) and not self._done.done():
            self._done.set_result(None)


async def probe(pool: PoolState, /, *, within_s: float) -> bool | None:
    """Whether a replica of the pool says that it is ready; None: nobody can tell, as no connection is free."""
    has_connection = False
    try:
        async with asyncio.timeout(within_s):
            try:
                connection = await pool.origin.acquire()
                has_connection = True
                return await _ready(pool, connection)
            except LostError as error:
                if not error.stale:
                    raise
            return await _ready(pool, await pool.origin.acquire(fresh=True))
    except OverloadedError:
        return None
    except UpstreamError:
        return False
    except TimeoutError:
        return False if has_connection or not pool.origin.is_full else None


async def _ready(pool: PoolState, connection: Connection) -> bool | None:
    address = pool.origin.address
    done = asyncio.get_running_loop().create_future()
    head = b"GET %b/v2/health/ready HTTP/1.1\r\nhost: %b\r\nuser-agent: botshard-router\r\n\r\n"
    try:
        connection.begin(head % (address.prefix, address.authority), b"", _Waiting(connection, done))
        await done
        if connection.error is not None:
            raise connection.error
        connection.take()
        status, answer = connection.status, read_answer_head(connection.headers)
    finally:
        pool.origin.release(connection)
    return status != _NOT_READY and outcome_of(judge(status, answer), status)
