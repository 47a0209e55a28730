"""uvicorn, with four things changed: it stops at once, ends with 0 after SIGTERM, sleeps when idle, cuts nothing off.

A connection is not closed under a request that is on its way when the router is told to stop.

uvicorn looks ten times a second whether it shall stop, and ends by the signal that stopped it. Here the loop waits for
an event and wakes once a second, for the `Date` header.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.config import Config

__all__ = ["Server", "listening_socket", "make_config"]

_DATE_TICKS = 10  # uvicorn renews the date at every tenth tick
_KEEP_ALIVE_S = 75
_BACKLOG = 2048
_NEXT_REQUEST_S = 0.25
"""How long a connection without a request in flight is kept once the router is told to stop: its client may have sent
one that was not read yet, and gets `connection: close` with the answer."""
_DRAIN_POLL_S = 0.01


class Server(uvicorn.Server):
    """See the module. `stop` may be called from the loop at any time."""

    def __init__(self, config: Config, *, begin: Callable[[], Awaitable[None]], on_stop: Callable[[], None]) -> None:
        """Connections are accepted once `begin` has returned; until then they wait in the socket's queue."""
        super().__init__(config)
        self._begin = begin
        self._on_stop = on_stop
        self._stopping = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """Whether the server takes no new connections any more."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Finish what is under way, then end; told twice: end now."""
        if self._stopping.is_set():
            self.force_exit = True
            return
        self.should_exit = True
        self._stopping.set()
        self._on_stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `begin`; a stop cuts it short."""
        beginning = asyncio.ensure_future(self._begin())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((beginning, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not beginning.done():
            beginning.cancel()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        """Until `stop`."""
        while not self._stopping.is_set():
            await self.on_tick(_DATE_TICKS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection, answer what is in flight and what was sent before anybody could know, then close."""
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        loop = asyncio.get_running_loop()
        closing_at_s = loop.time() + _NEXT_REQUEST_S
        while self.server_state.connections and loop.time() < closing_at_s and not self.force_exit:
            for connection in list(self.server_state.connections):
                cycle = getattr(connection, "cycle", None)
                if cycle is not None and not cycle.response_complete:
                    connection.shutdown()  # closes once it has answered
            await asyncio.sleep(_DRAIN_POLL_S)
        await super().shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the server while it serves."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


class _SaidElsewhere(logging.Filter):
    """Drops what the proxy has told better: that an answer broke off."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


def make_config(app: Any, *, drain_timeout_s: float) -> Config:
    """How uvicorn serves `app`."""
    errors = logging.getLogger("uvicorn.error")
    if not any(isinstance(present, _SaidElsewhere) for present in errors.filters):
        errors.addFilter(_SaidElsewhere())
    return Config(
        app,
        interface="asgi3",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_timeout_s)),
    )


def listening_socket(*, host: str, port: int, fd: int | None) -> socket.socket:
    """The inherited socket, or a new one.

    Raises: OSError.
    """
    if fd is not None:
        return socket.socket(fileno=fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(_BACKLOG)
    except OSError:
        found.close()
        raise
    return found
