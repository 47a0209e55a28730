"""What waits in the listening socket's queue while a router starts is answered as if it had come later."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from botshard.store.base import Blob
from botshard.store.files import FileStore
from router.main import assemble, serve
from router.settings import Settings
from tests.router.fleet import Fleet
from tests.router.upstreams import infer_answer, upstream

_REQUEST = b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


class _SlowStore(FileStore):
    """A store whose polls take until they are let through."""

    let_through: threading.Event

    def get_if_changed(self, key: str, /, etag: str | None) -> Blob | None:
        assert self.let_through.wait(30)
        return super().get_if_changed(key, etag)


async def test_no_request_is_taken_before_the_store_was_looked_at(fleet: Fleet) -> None:
    """It waits, and is then answered by its pool; not with 503 because nothing is known yet."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        store = _SlowStore(fleet.folder)
        store.let_through = threading.Event()
        router = assemble(Settings(store_url=fleet.url, drain_timeout_s=1.0), store)
        listening = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(serve(router, listening))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(_REQUEST)
        first = asyncio.create_task(reader.readline())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(first), 0.3)
        store.let_through.set()
        assert await asyncio.wait_for(first, 10) == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        router.server.stop()
        await serving
        store.close()


async def test_a_router_that_is_stopped_while_it_starts_ends_at_once(fleet: Fleet) -> None:
    """It does not wait for a store that hangs."""
    store = _SlowStore(fleet.folder)
    store.let_through = threading.Event()
    router = assemble(Settings(store_url=fleet.url, drain_timeout_s=1.0), store)
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(router.server.serve(sockets=[listening]))
    router.following.start()
    await asyncio.sleep(0)
    router.server.stop()
    await asyncio.wait_for(serving, 5)
    store.let_through.set()
    await router.following.stop()
    router.pools.close()
    store.close()


async def test_a_request_that_was_sent_before_anybody_could_know_is_answered(fleet: Fleet) -> None:
    """A router that is told to stop reads it, also on a kept connection, and says that the connection ends."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        store = FileStore(fleet.folder)
        router = assemble(Settings(store_url=fleet.url, drain_timeout_s=1.0), store)
        listening = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(serve(router, listening))
        new = await asyncio.open_connection(*listening.getsockname())
        kept = await asyncio.open_connection(*listening.getsockname())
        assert (await _ask(*kept)).startswith(b"HTTP/1.1 200 OK\r\n")
        idle = await asyncio.open_connection(*listening.getsockname())
        assert (await _ask(*idle)).startswith(b"HTTP/1.1 200 OK\r\n")
        router.server.stop()
        await asyncio.sleep(0.05)  # the router is in the midst of stopping
        for connection in (new, kept):
            head = await _ask(*connection)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close" in head.lower()
            assert await connection[0].read() == b""
        assert await asyncio.wait_for(idle[0].read(), 5) == b""
        await asyncio.wait_for(serving, 5)
        for _, writer in (new, kept, idle):
            writer.close()
        store.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Ask and take the whole answer; its head."""
    writer.write(_REQUEST.replace(b"connection: close\r\n", b""))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return head
