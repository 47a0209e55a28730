"""Metadata, readiness of bots and the repository extension of the protocol, as one plain ASGI application.

It stands behind the hot requests (`hot.py`) and in front of the SDK's application, to which it passes what it does not
know, so that such a request costs neither FastAPI's routing nor the SDK's conversions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from botshard.http1.asgi import Application
from botshard.oip import headers
from botshard.oip.errors import InvalidInputError
from botshard.oip.fields import json_object
from kserve_runtimes.core.errors import DeadlineExceededError
from kserve_runtimes.core.pool import Call, Pool
from kserve_runtimes.serving import models
from kserve_runtimes.serving.messages import (
    Answer,
    DisconnectedError,
    Headers,
    Receive,
    Request,
    Scope,
    Send,
    error_answer,
    wrong_method_answer,
)
from kserve_runtimes.serving.problems import problem_of
from kserve_runtimes.serving.sharing import ArtifactShare

__all__ = ["PoolApplication"]

Endpoint: TypeAlias = Callable[[Request], Awaitable[Answer]]


class PoolApplication:
    """ASGI application of one replica."""

    def __init__(
        self, pool: Pool, behind: Application, *, max_body_bytes: int, share: ArtifactShare | None = None
    ) -> None:
        """`share` is what siblings may get; None: nothing."""
        self._share = share
        self._pool = pool
        self._behind = behind
        self._max_body_bytes = max_body_bytes
        self._pool_header = (headers.POOL.encode(), pool.name.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        request = Request(scope, receive)
        found = self._route(request)
        if found is None:
            await self._pass_on(scope, receive, send, request)
            return
        method, endpoint = found
        try:
            if request.method != method and not (method == "GET" and request.method == "HEAD"):
                allowed = ("GET", "HEAD") if method == "GET" else (method,)
                answer = wrong_method_answer(request.method, request.path, allowed=allowed)
            else:
                answer = await endpoint(request)
        except DisconnectedError:
            return
        except Exception as error:  # noqa: BLE001 - every error has its place in the table of problems
            answer = error_answer(problem_of(error))
        self._pool.metrics.count_rest(answer.status)
        await answer.send(send, self._common_headers(request))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request: Request) -> None:
        """Let the SDK's application answer; our headers go with its answer too."""

        async def send_with_headers(message: models.Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._common_headers(request)]
                self._pool.metrics.count_rest(message["status"])
            await send(message)

        await self._behind(scope, receive, send_with_headers)

    def _common_headers(self, request: Request) -> Headers:
        found = [self._pool_header, (b"x-botshard-epoch", str(self._pool.epoch).encode())]
        request_id = request.header(headers.REQUEST_ID)
        if request_id is not None:
            found.append((b"x-request-id", request_id.encode("latin-1")))
        return found

    # ── routes ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _route(self, request: Request) -> tuple[str, Endpoint] | None:  # noqa: PLR0911 - one return a route
        """Method and endpoint of a path; None: not ours."""
        pool = self._pool
        match request.path.split("/"):
            case ["", "v2", "models", bot, "ready"]:
                return "GET", lambda request: models.ready(pool, self._call(request, bot, None))
            case ["", "v2", "models", bot, "versions", version, "ready"]:
                return "GET", lambda request: models.ready(pool, self._call(request, bot, version))
            case ["", "v2", "models", bot]:
                return "GET", lambda request: self._within(
                    request, lambda: models.metadata(pool, self._call(request, bot, None))
                )
            case ["", "v2", "models", bot, "versions", version]:
                return "GET", lambda request: self._within(
                    request, lambda: models.metadata(pool, self._call(request, bot, version))
                )
            case ["", "v1", "models", name] if name.endswith(":explain"):
                bot = name.removesuffix(":explain")
                return "POST", lambda request: models.explain(pool, self._call(request, bot, None))
            case ["", "v1", "models", bot]:
                return "GET", lambda request: models.ready(pool, self._call(request, bot, None))
            case path:
                return self._route_pool(path)

    def _route_pool(self, path: list[str]) -> tuple[str, Endpoint] | None:  # noqa: PLR0911 - one return a route
        pool = self._pool
        match path:
            case ["", "v2"]:
                return "GET", models.server
            case ["", "v2" | "v1", "models"]:
                return "GET", lambda _: models.names(pool)
            case ["", "pool", "blobs", digest] if (share := self._share) is not None:
                return "GET", lambda _: share.content(digest)
            case ["", "v2", "repository", "index"]:
                return "POST", self._index
            case ["", "v2", "repository", "models", bot, "load"]:
                return "POST", lambda request: self._within(
                    request, lambda: models.load(pool, self._call(request, bot, None))
                )
            case ["", "v2", "repository", "models", bot, "unload"]:
                return "POST", lambda request: models.unload(pool, self._call(request, bot, None))
            case _:
                return None

    @staticmethod
    def _call(request: Request, bot_id: str, version: str | None) -> Call:
        return Call(bot_id, version, request.epoch())

    async def _within(self, request: Request, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """`answer()` within the deadline of the request."""
        timeout_s = self._pool.timeout_s(request.timeout_s())
        try:
            async with asyncio.timeout(timeout_s):
                return await answer()
        except TimeoutError as error:
            raise DeadlineExceededError(timeout_s) from error

    async def _index(self, request: Request) -> Answer:
        body = await request.body(self._max_body_bytes)
        ready = json_object(body).get("ready", False) if body else False
        if not isinstance(ready, bool):
            raise InvalidInputError(None, "ready must be true or false")
        return models.index(self._pool, ready_only=ready)
