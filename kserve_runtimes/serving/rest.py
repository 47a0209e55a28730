"""The Open Inference Protocol, its V1 ancestor and the repository extension as one plain ASGI application.

It stands in front of the SDK's application and passes on what it does not know, so a request for a bot costs neither
FastAPI's routing nor the SDK's conversions. A faster protocol would stand in front of this in the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from botshard.oip import headers
from botshard.oip.content import decompress
from botshard.oip.errors import InvalidInputError
from botshard.oip.fields import json_object
from botshard.oip.rest import EncodedBody, decode_request, encode_response, parse_header_length
from botshard.oip.v1 import decode_v1, encode_v1
from botshard.sharding.ids import Epoch
from kserve_runtimes.core.bot import LoadedBot
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
    json_answer,
)
from kserve_runtimes.serving.problems import problem_of

__all__ = ["PoolApplication"]

Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Answer]]

_MAX_HEADER_EPOCH = 1 << 62


class PoolApplication:
    """ASGI application of one replica."""

    def __init__(self, pool: Pool, behind: Application, *, max_body_bytes: int) -> None:
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
                answer = _wrong_method(request, allowed=("GET", "HEAD") if method == "GET" else (method,))
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
            case ["", "v2", "models", bot, "infer"]:
                return "POST", lambda request: self._infer(request, bot, None)
            case ["", "v2", "models", bot, "versions", version, "infer"]:
                return "POST", lambda request: self._infer(request, bot, version)
            case ["", "v1", "models", name] if name.endswith(":predict"):
                return "POST", lambda request: self._predict_v1(request, name.removesuffix(":predict"))
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
            case ["", "v1", "models", bot] if ":" not in bot:
                return "GET", lambda request: models.ready(pool, self._call(request, bot, None))
            case path:
                return self._route_pool(path)

    def _route_pool(self, path: list[str]) -> tuple[str, Endpoint] | None:  # noqa: PLR0911 - one return a route
        pool = self._pool
        match path:
            case ["", "v2", "health", "live"]:
                return "GET", models.live
            case ["", "v2", "health", "ready"] | ["", "pool", "ready"]:
                return "GET", lambda _: models.pool_ready(pool)
            case ["", "v2"]:
                return "GET", models.server
            case ["", "v2" | "v1", "models"]:
                return "GET", lambda _: models.names(pool)
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

    def _call(self, request: Request, bot_id: str, version: str | None) -> Call:
        epoch = request.number(headers.EPOCH)
        return Call(bot_id, version, Epoch(int(min(epoch, _MAX_HEADER_EPOCH)) if epoch is not None else 0))

    async def _within(self, request: Request, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """`answer()` within the deadline of the request."""
        timeout_s = self._pool.timeout_s(request.timeout_s())
        try:
            async with asyncio.timeout(timeout_s):
                return await answer()
        except TimeoutError as error:
            raise DeadlineExceededError(timeout_s) from error

    # ── inference ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _infer(self, request: Request, bot_id: str, version: str | None) -> Answer:
        header_length = parse_header_length(request.header(headers.INFERENCE_HEADER_LENGTH))

        def job(bot: LoadedBot, body: bytes | memoryview) -> EncodedBody:
            decoded = decode_request(
                body, inputs=bot.spec.inputs, outputs=bot.spec.outputs, header_length=header_length
            )
            outputs = bot.predict(decoded.inputs)
            return encode_response(outputs, model_name=bot.id, model_version=str(bot.version.number), request=decoded)

        return await self._run(request, self._call(request, bot_id, version), job)

    async def _predict_v1(self, request: Request, bot_id: str) -> Answer:
        def job(bot: LoadedBot, body: bytes | memoryview) -> EncodedBody:
            decoded = decode_v1(body, inputs=bot.spec.inputs)
            return EncodedBody(encode_v1(bot.predict(decoded.inputs)), None)

        return await self._run(request, self._call(request, bot_id, None), job)

    async def _run(
        self, request: Request, call: Call, job: Callable[[LoadedBot, bytes | memoryview], EncodedBody]
    ) -> Answer:
        pool, limit_bytes = self._pool, self._max_body_bytes
        encoding = request.header("content-encoding")
        timeout_s = pool.timeout_s(request.timeout_s())
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        with pool.in_flight():
            try:
                async with asyncio.timeout_at(deadline_s):
                    body = await request.body(limit_bytes)
                    # Inflating, parsing and writing are done where the model runs: a large body must not hold up
                    # the health checks and the small requests on the event loop.
                    bot, encoded = await pool.run(
                        call, lambda bot: job(bot, decompress(body, encoding, limit_bytes)), deadline_s=deadline_s
                    )
            except (TimeoutError, DeadlineExceededError) as error:
                raise DeadlineExceededError(timeout_s) from error
        return _tensors_answer(bot, encoded)

    async def _index(self, request: Request) -> Answer:
        body = await request.body(self._max_body_bytes)
        ready = json_object(body).get("ready", False) if body else False
        if not isinstance(ready, bool):
            raise InvalidInputError(None, "ready must be true or false")
        return models.index(self._pool, ready_only=ready)


def _wrong_method(request: Request, *, allowed: tuple[str, ...]) -> Answer:
    text = f"{request.method} is not a method of {request.path}; use {' or '.join(allowed)}"
    answer = json_answer({"error": text}, status=405)
    answer.headers.append((b"allow", ", ".join(allowed).encode()))
    return answer


def _tensors_answer(bot: LoadedBot, encoded: EncodedBody) -> Answer:
    version = (b"x-botshard-bot-version", str(bot.version.number).encode())
    if encoded.header_length is None:
        return Answer(200, encoded.body, [(b"content-type", b"application/json"), version])
    length = (b"inference-header-content-length", str(encoded.header_length).encode())
    return Answer(200, encoded.body, [(b"content-type", b"application/octet-stream"), length, version])
