"""The router's server: begins when the store was looked at, and ends without cutting off what is on its way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any, Protocol

from botshard.http1.asgi import Application, Receive, Scope, Send
from botshard.http1.limits import Limits as ConnectionLimits
from botshard.http1.server import Http1Server
from botshard.http1.shortcut import Shortcut
from botshard.logs import fields
from router.front import Front
from router.limits import Limits
from router.short import ShortWay
from router.workers.listening import bound_socket, inherited_socket

__all__ = ["Besides", "Server", "listening_socket"]

_PATIENCE_S = 3.0


class Besides(Protocol):
    """Another port of the router, which begins and ends with the first."""

    def listen(self) -> None:
        """Bind and begin. Raises: OSError."""

    def abort(self) -> None:
        """End at once what is in flight."""

    async def stop(self, grace_s: float, /) -> int:
        """Take nothing new, answer what is in flight; how much was cut off after `grace_s`."""
        ...


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
        is_worker: bool = False,
    ) -> None:
        """Connections are accepted once `begin` has returned; until then they wait in the socket's queue.

        A worker that gets a signal by hand retires: its supervisor, which tells it over the wire when all are to stop,
        takes its place.
        """
        self.tls: ssl.SSLContext | None = None
        """Set before `serve`: clients come over TLS."""
        self.besides: Besides | None = None
        """What listens too; set before the router serves."""
        self._http = Http1Server(
            _with_head(app), recognise=front.recognise, refuse=front.refuse, limits=connection_limits(limits)
        )
        self._http.shortcut = ShortWay(front, self._http.clock)
        self._drain_timeout_s = drain_timeout_s
        self._on_signal = self.retire if is_worker else self.stop
        self._begin = begin
        self._on_stop = on_stop
        self._stopping = asyncio.Event()
        self._told: set[str] = set()
        self._patience_s: float | None = None
        self._covered: dict[int, socket.socket] = {}
        self.accepts = asyncio.Event()
        """Set once connections are accepted."""

    @property
    def stopping(self) -> bool:
        """Whether the server takes no new connections any more."""
        return self._stopping.is_set()

    @property
    def shortcut(self) -> Shortcut | None:
        """The short way of usual requests; None once it drains."""
        return self._http.shortcut

    def stop(self) -> None:
        """Finish what is under way, then end; told twice: end now."""
        self._end("stop", None)

    def retire(self) -> None:
        """The same with more patience for idle connections: another worker serves, and nobody waits for this one."""
        self._end("retire", _PATIENCE_S)

    async def cover(self, number: int, sock: socket.socket, /) -> None:
        """Accept on another worker's socket too, which is taken."""
        if self._stopping.is_set() or number in self._covered:
            sock.close()
            return
        self._covered[number] = sock
        await self._http.listen([sock], tls=self.tls)

    def uncover(self, number: int, /) -> None:
        """Leave it to its own worker again."""
        sock = self._covered.pop(number, None)
        if sock is not None:
            self._http.leave(sock)

    def _end(self, how: str, patience_s: float | None) -> None:
        if how in self._told:
            self._http.abort()
            if self.besides is not None:
                self.besides.abort()
        self._told.add(how)  # once each is no haste: whoever stops a group of processes tells all, as a supervisor does
        if self._stopping.is_set():
            return
        self._patience_s = patience_s
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
            await self._http.listen(sockets, tls=self.tls)
            if self.besides is not None:
                self.besides.listen()
            self.accepts.set()
            await stopping
            cut_off = await self._drain()
        if cut_off:
            event = fields(connections=cut_off, after_s=self._drain_timeout_s)
            logging.getLogger("router").warning("requests cut off at the end", extra=event)

    async def _drain(self) -> int:
        grace_s = self._drain_timeout_s
        http = self._http.drain(grace_s, patience_s=self._patience_s)
        if self.besides is None:
            return await http
        return sum(await asyncio.gather(http, self.besides.stop(grace_s)))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self._on_signal)
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
    return bound_socket(host=host, port=port) if fd is None else inherited_socket(fd)
