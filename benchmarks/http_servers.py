"""Servers that the router is measured with: `python -m benchmarks.http_servers KIND PORT [STORE_URL]`.

`upstream` answers 1 KB to anything, as fast as Python can; `slow` does 500 requests a second. `aiohttp` and `httpx` are
the router as it would be written first: a FastAPI route that looks the bot up in the same table and forwards with that
client library.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

import uvicorn
import uvloop
from fastapi import FastAPI, HTTPException, Request, Response

from botshard.store.catalog_follower import CatalogFollower
from botshard.store.table import TableFollower
from botshard.store.urls import open_store
from router.table import Routes

_BODY = b'{"model_name":"bot","outputs":[]}'.ljust(1024)
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_SLOW_AT_ONCE, _SLOW_S = 8, 0.016
_DROPPED = {"host", "content-length", "connection", "transfer-encoding", "date", "server"}

_Forward = Callable[[str, bytes, dict[str, str]], Awaitable[tuple[int, dict[str, str], bytes]]]


class _Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            at = head.lower().find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < size:
                return
            self._buffer = rest[size:]
            self.answer()

    def answer(self) -> None:
        self._transport.write(_ANSWER)


class _Slow(_Upstream):
    """Does so many requests at a time, whoever asks, and takes its time for each."""

    _free = _SLOW_AT_ONCE
    _waiting: ClassVar[deque[asyncio.Transport]] = deque()

    def answer(self) -> None:
        self._waiting.append(self._transport)
        self._begin()

    @classmethod
    def _begin(cls) -> None:
        while cls._free and cls._waiting:
            cls._free -= 1
            asyncio.get_running_loop().call_later(_SLOW_S, cls._end, cls._waiting.popleft())

    @classmethod
    def _end(cls, transport: asyncio.Transport) -> None:
        transport.write(_ANSWER)
        cls._free += 1
        cls._begin()


async def _serve_upstream(kind: type[_Upstream], port: int) -> None:
    server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


def _read_routes(url: str) -> Routes:
    store = open_store(url, os.environ)
    routes = Routes()
    table, catalog = TableFollower(store), CatalogFollower(store, keep=routes.served.keep)
    table.refresh()
    catalog.refresh()
    routes.table = table.table
    routes.bots = catalog.bots
    store.close()
    return routes


@asynccontextmanager
async def _with_aiohttp() -> AsyncIterator[_Forward]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256), auto_decompress=False) as session:

        async def forward(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            async with session.post(url, data=body, headers=headers) as answer:
                return answer.status, dict(answer.headers), await answer.read()

        yield forward


@asynccontextmanager
async def _with_httpx() -> AsyncIterator[_Forward]:
    import httpx

    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    async with httpx.AsyncClient(limits=limits) as client:

        async def forward(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            answer = await client.post(url, content=body, headers=headers)
            return answer.status_code, dict(answer.headers), answer.content

        yield forward


def _peer(routes: Routes, client: Callable[[], Any]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with client() as forward:
            app.state.forward = forward
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v2/models/{bot}/infer")
    async def infer(bot: str, request: Request) -> Response:
        route = routes.find(bot)
        pools = () if route is None else routes.pools(route)
        if not pools:
            raise HTTPException(404)
        sent = {name: value for name, value in request.headers.items() if name not in _DROPPED}
        url = pools[0].url + request.url.path
        status, headers, body = await request.app.state.forward(url, await request.body(), sent)
        kept = {name: value for name, value in headers.items() if name.lower() not in _DROPPED}
        return Response(body, status, kept)

    return app


def main() -> None:
    """Serve until killed."""
    kind, port = sys.argv[1], int(sys.argv[2])
    logging.basicConfig(level=logging.ERROR)
    if kind in {"upstream", "slow"}:
        uvloop.run(_serve_upstream(_Slow if kind == "slow" else _Upstream, port))
        return
    client = {"aiohttp": _with_aiohttp, "httpx": _with_httpx}[kind]
    app = _peer(_read_routes(sys.argv[3]), client)
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_level="error")


if __name__ == "__main__":
    main()
