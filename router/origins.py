"""Where a pool is reached, and its share in the connections to there."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from botshard.oip.deadlines import DIRECT_HOP_S, GATEWAY_HOP_S
from botshard.sharding.errors import CallerError
from botshard.sharding.routing import PoolRoute
from router.connections import Connections, Place
from router.errors import OverloadedError
from router.limits import Limits
from router.turns_given import TurnsGiven
from router.upstream import Connection

__all__ = ["Address", "Origin"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests to a pool go, and as whose."""

    host: str
    """To connect to: the URL's, or that of a gateway."""
    port: int
    tls: bool
    server_name: str
    """Whose certificate is asked for: the host of the pool's URL, also at a gateway; empty without TLS."""
    authority: bytes
    """Value of the Host header, and of gRPC's `:authority`: of the pool's URL, also at a gateway."""
    prefix: bytes
    """Path of the URL, without a slash at its end; mostly empty."""
    is_gateway: bool
    """Whether something else is connected to than what the URL names."""
    hop_s: float = field(init=False, compare=False, repr=False)
    """What going there and back may take of a request's time."""
    after_path: bytes = field(init=False, compare=False, repr=False)
    """What follows the path in a request's head: the rest of its line, and the host."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hop_s", GATEWAY_HOP_S if self.is_gateway else DIRECT_HOP_S)
        object.__setattr__(self, "after_path", b" HTTP/1.1\r\nhost: %b\r\n" % self.authority)

    @classmethod
    def of(cls, url: str, /, gateway: str | None = None) -> Address:
        """The address in a URL that the routing table's codec has accepted; connected to is `gateway`, if given.

        Raises: CallerError.
        """
        pool, pool_port = _split(url)
        target, port = (pool, pool_port) if gateway is None else _split(gateway)
        tls = target.scheme == "https"
        try:
            authority = pool.netloc.rpartition("@")[2].encode("ascii")
        except UnicodeEncodeError as error:
            raise CallerError(f"not the URL of a pool: {url!r}: its host is not ASCII") from error
        return cls(
            host=target.hostname or "",
            port=port,
            tls=tls,
            server_name=pool.hostname or "" if tls else "",
            authority=authority,
            prefix=pool.path.encode(),
            is_gateway=gateway is not None,
        )

    @classmethod
    def of_route(cls, route: PoolRoute, /, gateway: str | None = None) -> Address:
        """The address of a pool in the table; `gateway` is told to this router and goes before the table's.

        Raises: CallerError.
        """
        return cls.of(route.url, gateway or route.gateway)

    @property
    def place(self) -> Place:
        """What connections to it have in common with those of others."""
        return Place(self.host, self.port, self.server_name)


def _split(url: str) -> tuple[SplitResult, int]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise CallerError(f"not the URL of a pool or gateway: {url!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise CallerError(f"not the URL of a pool or gateway: {url!r}")
    return parts, port or (443 if parts.scheme == "https" else 80)


class Origin:
    """A pool's share in the connections to its address: so many at once, and requests past them wait in turn."""

    __slots__ = (
        "_connections",
        "_loop",
        "_max_busy",
        "_max_rest_s",
        "_max_waiting",
        "_pool",
        "_turns",
        "_waiting",
        "address",
        "busy_count",
    )

    def __init__(self, pool: str, address: Address, limits: Limits, connections: Connections) -> None:
        self.address = address
        self._pool = pool
        self._max_busy = limits.max_connections_per_pool
        self._max_waiting = limits.max_waiting_per_pool
        self._max_rest_s = limits.idle_connection_s
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turns = TurnsGiven()
        self.busy_count = 0
        """Connections that the pool's requests have, or that are opened for them."""

    def __repr__(self) -> str:
        return f"<Origin {self._pool} at {self.address.place} busy={self.busy_count} waiting={len(self._waiting)}>"

    @property
    def open_count(self) -> int:
        """Connections that are open for this pool, or being opened: those that are shared, only while it has them."""
        return self.busy_count + self.idle_count

    @property
    def is_full(self) -> bool:
        """Whether there are as many connections as there may be."""
        return self.open_count >= self._max_busy

    @property
    def idle_count(self) -> int:
        """Open connections without an exchange that no other pool can use."""
        return 0 if self._connections.is_shared else len(self._connections.idle)

    @property
    def has_waiting(self) -> bool:
        """See `router.connections.Share`."""
        return bool(self._waiting)

    def idle(self) -> Connection | None:
        """A connection to use at once, or None; none while others wait, who were here before."""
        connections = self._connections
        idle = connections.idle
        if not idle or self._waiting or self.busy_count >= self._max_busy:
            return None
        if connections.queue and connections.is_full:
            return None
        connection = idle.popleft()  # every request comes by here: this is `take` without its call
        if connection.error is not None or connection.idle_since_s + self._max_rest_s <= self._loop.time():
            connections.discard(connection)
            other = connections.take()
            if other is None:
                return None
            connection = other
        connection.pool = self._pool
        self.busy_count += 1
        return connection

    def put_back(self, connection: Connection, /) -> None:
        """What `idle` gave was not used after all."""
        self.busy_count -= 1
        self._connections.idle.appendleft(connection)

    async def acquire(self, *, fresh: bool = False, within_s: float = math.inf) -> Connection:
        """A connection to use; `fresh`: one that was never used before.

        Raises: ConnectError; OverloadedError, also where it would hardly come `within_s`.
        """
        connections = self._connections
        has_waited = not self._waiting and not (connections.queue and connections.is_full)
        while True:
            if has_waited and self.busy_count < self._max_busy:
                connection = None if fresh else connections.take()
                if connection is not None:
                    connection.pool = self._pool
                    self.busy_count += 1
                    return connection
                if fresh:
                    connections.make_room()
                if not connections.is_full:
                    return await self._open()
            await self._wait_for_room(in_front=has_waited, within_s=within_s)
            has_waited = True

    def release(self, connection: Connection, /) -> None:
        """Give back what `acquire` or `idle` gave: kept if another exchange can follow, else closed."""
        if connection.reusable:
            self.release_short(connection, self._loop.time())
        else:
            self.busy_count -= 1
            self._connections.discard(connection)

    def release_short(self, connection: Connection, now_s: float, /) -> None:
        """As `release`, for a connection of which it is known that another exchange can follow."""
        self.busy_count -= 1
        self._connections.keep(connection, now_s)

    def wake(self) -> bool:
        """See `router.connections.Share`."""
        if self.busy_count >= self._max_busy:
            return False
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._turns.given(self._loop.time(), others_wait=bool(self._waiting))
                return True
        return False

    async def _open(self) -> Connection:
        self.busy_count += 1
        opened = False
        try:
            connection = await self._connections.open(self._pool)
            opened = True
        finally:
            if not opened:
                self.busy_count -= 1
                self._connections.admit()
        return connection

    async def _wait_for_room(self, *, in_front: bool, within_s: float) -> None:
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError(
                f"pool {self._pool}: {len(self._waiting)} requests wait for a connection already", retry_after_s=1
            )
        late_s = 0.0 if in_front else self._turns.late_by_s(len(self._waiting), within_s)
        if late_s:
            raise OverloadedError(
                f"pool {self._pool}: with {len(self._waiting)} requests that wait the turn would come too late",
                retry_after_s=max(1, math.ceil(late_s)),
            )
        turn = self._loop.create_future()
        if not self._waiting and self not in self._connections.queue:
            self._connections.queue.append(self)
        if in_front:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._connections.admit()  # the turn was given to nobody
            with contextlib.suppress(ValueError):
                self._waiting.remove(turn)
            raise
