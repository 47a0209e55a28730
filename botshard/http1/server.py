"""Listening sockets, their connections, and an end at which what is in flight is answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from botshard.http1.answers import Clock
from botshard.http1.asgi import Application
from botshard.http1.connection import Connection
from botshard.http1.exchange import Refuse
from botshard.http1.hot import Recognise
from botshard.http1.limits import Limits
from botshard.http1.shortcut import Shortcut

__all__ = ["Http1Server"]

_BACKLOG: Final = 1024


class Http1Server:
    """Answers on any number of sockets. Lives on the event loop that it was made on; starts no thread."""

    def __init__(
        self, application: Application, *, recognise: Recognise, refuse: Refuse, limits: Limits | None = None
    ) -> None:
        """Nothing listens until `listen`.

        Args:
            application: answers what is not hot.
            recognise: tells which requests are.
            refuse: writes the answer to what is no request.
            limits: bounds and patience of each connection.
        """
        self.application = application
        self.recognise = recognise
        self.refuse = refuse
        self.limits = limits or Limits()
        self.loop = asyncio.get_running_loop()
        self.clock = Clock()
        self.shortcut: Shortcut | None = None
        """Is offered what comes between requests; None: the parser reads all."""
        self.connections: set[Connection] = set()
        self.is_draining = False
        self._listeners: list[tuple[asyncio.Server, socket.socket]] = []
        self._empty = asyncio.Event()

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on sockets that are bound; they are closed by `drain`."""
        for sock in sockets:
            sock.setblocking(False)
            server = await self.loop.create_server(lambda: Connection(self), sock=sock, backlog=_BACKLOG)
            self._listeners.append((server, sock))

    def abort(self) -> None:
        """End every connection now; nothing more is answered."""
        for connection in list(self.connections):
            connection.abort()

    def lost(self, connection: Connection, /) -> None:
        """A connection is no more."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def drain(self, grace_s: float) -> int:
        """Accept nothing, close what is idle, answer what is in flight; how many were cut off after `grace_s`.

        Only this process's end of the sockets is closed: others that share them go on accepting.
        """
        self.is_draining = True
        self.shortcut = None
        for server, sock in self._listeners:
            server.close()
            sock.close()
        self._listeners.clear()
        deadline_s = self.loop.time() + grace_s
        next_s, first_s = self.limits.next_request_s, self.limits.first_request_s
        await self._wait_empty(next_s)
        for connection in list(self.connections):
            connection.end_idle(fresh=False)
        await self._wait_empty(min(first_s - next_s, grace_s))
        for connection in list(self.connections):
            connection.end_idle(fresh=True)
        await self._wait_empty(deadline_s - self.loop.time())
        cut_off = list(self.connections)
        self.abort()
        if cut_off:
            await self._wait_empty(1.0)
        return len(cut_off)

    async def _wait_empty(self, within_s: float) -> None:
        if not self.connections or within_s <= 0:
            return
        self._empty.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            return
