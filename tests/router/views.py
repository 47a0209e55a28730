"""Answers as h11 reads them: another's view of HTTP/1.1, stricter than most clients'."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import h11

__all__ = ["View", "connected", "views_of"]


@dataclass(slots=True)
class View:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    interim: list[int] = field(default_factory=list)
    """Statuses of interim answers before it."""
    is_kept: bool = True
    """Whether the connection may be used again."""


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client's connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def views_of(reader: asyncio.StreamReader, methods: Sequence[str]) -> list[View]:
    """The answers to requests with these methods, and a check that the connection ends exactly where they say so.

    Raises: h11.RemoteProtocolError for anything that is not right.
    """
    views: list[View] = []
    received = b""
    for method in methods:
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        connection.send(h11.EndOfMessage())
        if received:
            connection.receive_data(received)
        view = await _read(connection, reader)
        views.append(view)
        received = connection.trailing_data[0]
        if not view.is_kept:
            break
    if not views[-1].is_kept:
        assert received == b""
        assert await asyncio.wait_for(reader.read(), 10) == b"", "bytes after the last answer"
    return views


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> View:
    interim: list[int] = []
    view: View | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await asyncio.wait_for(reader.read(65_536), 10))
        elif isinstance(event, h11.InformationalResponse):
            interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            headers = {name.decode(): value.decode() for name, value in event.headers}
            assert len(headers) == len(event.headers), "a header twice"
            view = View(event.status_code, headers, interim=interim)
        elif isinstance(event, h11.Data):
            assert view is not None
            view.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert view is not None
            view.is_kept = connection.their_state is h11.DONE and connection.our_state is h11.DONE
            return view
        else:
            raise AssertionError(f"the connection ended before an answer: {event!r}")
