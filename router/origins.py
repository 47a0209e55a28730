"""All connections to one pool: kept alive, bounded in number, handed out in turn."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from botshard.sharding.errors import CallerError
from router.errors import ConnectError, OverloadedError
from router.limits import Limits
from router.upstream import Connection

__all__ = ["Address", "Origin"]

_SWEEP_S = 1.0
_AGE_STEPS = 16  # ages are spread over ±20 %, so that connections opened together are not replaced together


@dataclass(frozen=True, slots=True)
class Address:
    """Where a pool's URL points."""

    host: str
    port: int
    tls: bool
    authority: bytes
    """Value of the Host header."""
    prefix: bytes
    """Path of the URL, without a slash at its end; mostly empty."""
    after_path: bytes = field(init=False, compare=False, repr=False)
    """What follows the path in a request's head: the rest of its line, and the host."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "after_path", b" HTTP/1.1\r\nhost: %b\r\n" % self.authority)

    @classmethod
    def of(cls, url: str, /) -> Address:
        """The address in a URL that the routing table's codec has accepted.

        Raises: CallerError.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise CallerError(f"not the URL of a pool: {url!r}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise CallerError(f"not the URL of a pool: {url!r}")
        tls = parts.scheme == "https"
        try:
            authority = parts.netloc.rpartition("@")[2].encode("ascii")
        except UnicodeEncodeError as error:
            raise CallerError(f"not the URL of a pool: {url!r}: its host is not ASCII") from error
        return cls(parts.hostname, port or (443 if tls else 80), tls, authority, parts.path.encode())


class Origin:
    """Connections to one address.

    Idle connections are used in turn, oldest rest first, because each of them ends at one replica of the pool: in
    turn, all replicas get their share.
    """

    __slots__ = (
        "_all",
        "_closed",
        "_idle",
        "_limits",
        "_loop",
        "_opening",
        "_pool",
        "_sweeper",
        "_tls",
        "_waiting",
        "address",
    )

    def __init__(self, pool: str, address: Address, limits: Limits, *, tls: Callable[[], ssl.SSLContext]) -> None:
        self.address = address
        self._pool = pool
        self._limits = limits
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Origin {self._pool} open={self.open_count} idle={self.idle_count} waiting={len(self._waiting)}>"

    @property
    def open_count(self) -> int:
        """Connections that are open or being opened."""
        return len(self._all) + self._opening

    @property
    def idle_count(self) -> int:
        """Open connections without an exchange."""
        return len(self._idle)

    def idle(self) -> Connection | None:
        """A connection to use at once, or None; none while others wait, who were here before."""
        return None if self._waiting else self._take_idle()

    def _take_idle(self) -> Connection | None:
        now_s = self._loop.time()
        while self._idle:
            connection = self._idle.popleft()
            if connection.error is None and now_s - connection.idle_since_s < self._limits.idle_connection_s:
                return connection
            self._discard(connection)
        return None

    async def acquire(self, *, fresh: bool = False) -> Connection:
        """A connection to use; `fresh`: one that was never used before.

        Raises: ConnectError, OverloadedError.
        """
        has_waited = not self._waiting
        while True:
            if has_waited:
                connection = None if fresh else self._take_idle()
                if connection is not None:
                    return connection
                if fresh and self._idle and self.open_count >= self._limits.max_connections_per_pool:
                    self._discard(self._idle.popleft())
                if self.open_count < self._limits.max_connections_per_pool:
                    return await self._open()
            await self._wait_for_room(in_front=has_waited)
            has_waited = True

    def release(self, connection: Connection, /) -> None:
        """Give back what `acquire` or `idle` gave: kept if another exchange can follow, else closed."""
        if connection.reusable:
            self.release_short(connection, self._loop.time())
        else:
            self._discard(connection)

    def release_short(self, connection: Connection, now_s: float, /) -> None:
        """As `release`, for a connection of which it is known that another exchange can follow."""
        if self._closed or now_s > connection.use_until_s:
            self._discard(connection)
            return
        connection.rest(now_s)
        self._idle.append(connection)
        if self._waiting:
            self._admit()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def close(self) -> None:
        """Close idle connections now and the others when their exchange is over."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._idle:
            self._discard(self._idle.popleft())

    async def _open(self) -> Connection:
        self._opening += 1
        address = self.address
        opened = False
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._pool, self._limits, loop=self._loop, on_lost=self._lost),
                    address.host,
                    address.port,
                    ssl=self._tls() if address.tls else None,
                )
            opened = True
        except TimeoutError as error:
            limit_s = self._limits.connect_timeout_s
            raise ConnectError(f"pool {self._pool}: no connection to {self._where()} within {limit_s:g} s") from error
        except OSError as error:
            raise ConnectError(f"pool {self._pool}: no connection to {self._where()}: {error}") from error
        finally:
            self._opening -= 1
            if not opened:
                self._admit()
        spread = 0.8 + 0.4 * ((id(connection) >> 6) % _AGE_STEPS) / _AGE_STEPS
        connection.use_until_s = connection.opened_at_s + self._limits.connection_age_s * spread
        self._all.add(connection)
        return connection

    def _where(self) -> str:
        return f"{self.address.host}:{self.address.port}"

    async def _wait_for_room(self, *, in_front: bool) -> None:
        if len(self._waiting) >= self._limits.max_waiting_per_pool:
            raise OverloadedError(
                f"pool {self._pool}: {len(self._waiting)} requests wait for a connection already", retry_after_s=1
            )
        turn = self._loop.create_future()
        if in_front:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._admit()  # the turn was given to nobody
            raise

    def _admit(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _discard(self, connection: Connection) -> None:
        connection.close()
        self._forget(connection)

    def _lost(self, connection: Connection) -> None:
        if connection in self._all:
            if connection in self._idle:
                self._idle.remove(connection)
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        self._admit()

    def _sweep(self) -> None:
        self._sweeper = None
        now_s = self._loop.time()
        while self._idle and now_s - self._idle[0].idle_since_s >= self._limits.idle_connection_s:
            self._discard(self._idle.popleft())
        if self._idle and not self._closed:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
