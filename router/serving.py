"""The router's server: begins when the store was looked at, and ends without cutting off what is on its way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any

from botshard.http1.asgi import Application, Receive, Scope, Send
from botshard.http1.limits import Limits as ConnectionLimits
from botshard.http1.server import Http1Server
from botshard.http1.shortcut import Shortcut
from botshard.logs import fields
from router.front import Front
from router.limits import Limits
from router.short import ShortWay

__all__ = ["Server", "listening_socket"]

_BACKLOG = 2048


class Server:
    """See the module. `stop` may be called from the loop at any time; told twice, it ends at once."""

    def __init__(
        self,
        app: Application,
        front: Front,
        *,
        limits: Limits,
        drain_timeout_s: float,
        begin: Callable[[], Awaitable[None]],
        on_stop: Callable[[], None],
    ) -> None:
        """Connections are accepted once `begin` has returned; until then they wait in the socket's queue."""
        self._http = Http1Server(
            _with_head(app), recognise=front.recognise, refuse=front.refuse, limits=connection_limits(limits)
        )
        if not front.tells_all:
            self._http.shortcut = ShortWay(front, self._http.clock)
        self._drain_timeout_s = drain_timeout_s
        self._begin = begin
        self._on_stop = on_stop
        self._stopping = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """Whether the server takes no new connections any more."""
        return self._stopping.is_set()

    @property
    def shortcut(self) -> Shortcut | None:
        """The short way of usual requests; None where every one is logged."""
        return self._http.shortcut

    def stop(self) -> None:
        """Finish what is under way, then end; told twice: end now."""
        if self._stopping.is_set():
            self._http.abort()
            return
        self._stopping.set()
        self._on_stop()

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Serve until `stop`, or SIGTERM or SIGINT; returns when all is answered or its time is up."""
        with self._signals():
            beginning = asyncio.ensure_future(self._begin())
            stopping = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait((beginning, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not beginning.done():
                beginning.cancel()
            # Also when it is stopped already: what was sent before anybody could know of it is answered.
            await self._http.listen(sockets)
            await stopping
            cut_off = await self._http.drain(self._drain_timeout_s)
        if cut_off:
            event = fields(connections=cut_off, after_s=self._drain_timeout_s)
            logging.getLogger("router").warning("requests cut off at the end", extra=event)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def connection_limits(limits: Limits, /) -> ConnectionLimits:
    """Bounds of a client's connection."""
    return ConnectionLimits(
        max_body_bytes=limits.max_body_bytes,
        max_head_bytes=limits.max_head_bytes,
        half_closed_s=limits.half_closed_s,
        next_request_s=limits.next_request_s,
    )


def _with_head(app: Application) -> Application:
    """HEAD is answered as GET; the connection leaves the body out."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        as_get: MutableMapping[str, Any] = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await app(as_get, receive, send)

    return answer


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
