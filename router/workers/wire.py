"""Messages between a supervisor and a worker: JSON with its length before it, over a pair of sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, TypeAlias, cast

__all__ = ["LINK_FD", "SEATS", "SUCCESSOR", "Message", "Wire"]

Message: TypeAlias = Mapping[str, Any]

LINK_FD: Final = "BOTSHARD_ROUTER_LINK_FD"
"""Variable with a worker's end of the wire; where it is set, a process is a worker."""
SEATS: Final = "BOTSHARD_ROUTER_SEATS"
"""Variable with all workers' listening sockets, so that one can stand in for another; empty where they share one."""
SUCCESSOR: Final = "BOTSHARD_ROUTER_SUCCESSOR"
"""Variable: the worker takes over from another one, and does not begin before it can route."""
_LENGTH_BYTES: Final = 4
_CLOSE_S: Final = 2.0


class Wire(asyncio.Protocol):
    """One end. The other end's end is told as `lost`, after the last message that came from there."""

    def __init__(self, heard: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._lost = lost
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._is_over = asyncio.Event()

    @classmethod
    async def over(cls, sock: socket.socket, heard: Callable[[Message], None], lost: Callable[[], None]) -> Self:
        """An end over a connected socket, which it takes."""
        sock.setblocking(False)
        _, wire = await asyncio.get_running_loop().create_unix_connection(lambda: cls(heard, lost), sock=sock)
        return wire

    def send(self, message: Message, /) -> None:
        """Send; nothing happens where nobody is there any more."""
        if self._transport is None or self._transport.is_closing():
            return
        data = json.dumps(message, separators=(",", ":")).encode()
        self._transport.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    def close(self) -> None:
        """Send what is left, then end."""
        if self._transport is not None:
            self._transport.close()

    async def closed(self) -> None:
        """Wait until the other end has closed it, but not for long.

        Whoever closes while the other end writes makes that writing fail, and what was sent before may not be read.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._is_over.wait()
        self.close()

    # ── the transport ─────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Tell each message that is whole."""
        self._received += data
        while len(self._received) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._received[:_LENGTH_BYTES], "big")
            if len(self._received) < end:
                return
            message = json.loads(self._received[_LENGTH_BYTES:end])
            del self._received[:end]
            self._heard(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason
        """The other end is gone, or this one was closed."""
        self._transport = None
        self._is_over.set()
        self._lost()
