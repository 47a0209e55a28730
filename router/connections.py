"""Connections to one place: kept alive, bounded in number, shared by all pools that are reached there.

Behind a gateway that is every pool of the group: a hundred pools need no more connections than one. Each pool has its
share (`router.origins.Origin`), so that one that does not answer cannot hold all of them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from router.errors import ConnectError
from router.limits import Limits
from router.upstream import Connection

__all__ = ["Connections", "Place", "Share"]

_SWEEP_S = 1.0
_AGE_STEPS = 16  # ages are spread over ±20 %, so that connections opened together are not replaced together


class Place(NamedTuple):
    """What connections must have in common so that one can stand for another."""

    host: str
    port: int
    server_name: str
    """Whom the other side must prove to be, and for whom its certificate is asked; empty: no TLS."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Share(Protocol):
    """One pool's part in the connections."""

    @property
    def has_waiting(self) -> bool:
        """Whether requests of the pool wait for a connection."""
        ...

    def wake(self) -> bool:
        """Whether a request that waits, and may have a connection, was told to try again."""
        ...


class Connections:
    """Those to one place.

    Idle ones are used in turn, oldest rest first, because each of them ends at one replica or one gateway: in turn, all
    get their share.
    """

    __slots__ = (
        "_all",
        "_closed",
        "_limits",
        "_loop",
        "_max_connections",
        "_opening",
        "_sweeper",
        "_tls",
        "idle",
        "is_shared",
        "place",
        "queue",
    )

    def __init__(self, place: Place, limits: Limits, *, tls: Callable[[], ssl.SSLContext]) -> None:
        self.place = place
        self.is_shared = False
        """Whether more than one pool is reached there."""
        self._max_connections = limits.max_connections_per_pool
        self._limits = limits
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self.idle: deque[Connection] = deque()
        """Open ones without an exchange, the one that rests longest first."""
        self._all: set[Connection] = set()
        self._opening = 0
        self.queue: deque[Share] = deque()
        """Pools of which requests wait; each is here once."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<Connections {self.place} open={self.open_count} idle={len(self.idle)} waiting pools={len(self.queue)}>"
        )

    @property
    def open_count(self) -> int:
        """Connections that are open or being opened."""
        return len(self._all) + self._opening

    @property
    def is_full(self) -> bool:
        """Whether there may be no more of them."""
        return len(self._all) + self._opening >= self._max_connections

    def share(self, *, among: int) -> None:
        """So many pools are reached there now."""
        limits = self._limits
        self.is_shared = among > 1
        self._max_connections = limits.max_connections_per_gateway if among > 1 else limits.max_connections_per_pool

    def take(self) -> Connection | None:
        """An idle one, if there is one."""
        idle = self.idle
        rested_s = self._loop.time() - self._limits.idle_connection_s
        while idle:
            connection = idle.popleft()
            if connection.error is None and connection.idle_since_s > rested_s:
                return connection
            self.discard(connection)
        return None

    def make_room(self) -> None:
        """If there may be no more of them: close an idle one."""
        if self.is_full and self.idle:
            self.discard(self.idle.popleft())

    async def open(self, pool: str) -> Connection:
        """A new one.

        Raises: ConnectError.
        """
        self._opening += 1
        place = self.place
        opened = False
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(pool, self._limits, loop=self._loop, on_lost=self._lost),
                    place.host,
                    place.port,
                    ssl=self._tls() if place.server_name else None,
                    server_hostname=place.server_name or None,
                )
            opened = True
        except TimeoutError as error:
            limit_s = self._limits.connect_timeout_s
            raise ConnectError(f"pool {pool}: no connection to {place} within {limit_s:g} s") from error
        except OSError as error:
            raise ConnectError(f"pool {pool}: no connection to {place}: {error}") from error
        finally:
            self._opening -= 1
            if not opened:
                self.admit()
        spread = 0.8 + 0.4 * ((id(connection) >> 6) % _AGE_STEPS) / _AGE_STEPS
        connection.use_until_s = connection.opened_at_s + self._limits.connection_age_s * spread
        self._all.add(connection)
        return connection

    def keep(self, connection: Connection, now_s: float, /) -> None:
        """Keep one that another exchange can follow on, unless it is too old for that."""
        if self._closed or now_s > connection.use_until_s:
            self.discard(connection)
            return
        connection.rest(now_s)
        self.idle.append(connection)
        if self.queue:
            self.admit()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def discard(self, connection: Connection, /) -> None:
        """Close one that is not idle."""
        connection.close()
        self._forget(connection)

    def admit(self) -> None:
        """There is room for a request: pools take turns, whatever their numbers of requests."""
        queue = self.queue
        for _ in range(len(queue)):
            share = queue.popleft()
            was_woken = share.wake()
            if share.has_waiting:
                queue.append(share)
            if was_woken:
                return

    def close(self) -> None:
        """Close idle ones now and the others when their exchange is over."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self.idle:
            self.discard(self.idle.popleft())

    def _lost(self, connection: Connection) -> None:
        if connection in self._all:
            if connection in self.idle:
                self.idle.remove(connection)
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if self.queue:
            self.admit()

    def _sweep(self) -> None:
        self._sweeper = None
        now_s = self._loop.time()
        while self.idle and now_s - self.idle[0].idle_since_s >= self._limits.idle_connection_s:
            self.discard(self.idle.popleft())
        if self.idle and not self._closed:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
