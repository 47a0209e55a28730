"""Everything but the hot path: FastAPI with health, metadata, listings, metrics and a read-only look inside.

Its own errors (404, 405, 422, 500) have the protocol's form too.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Final, cast

import orjson
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException

import botshard
from botshard.oip.errors import InvalidInputError
from botshard.oip.fields import json_object
from botshard.oip.metadata import EXTENSIONS, IndexEntry, repository_index, server_metadata
from botshard.sharding.errors import ShardingError
from botshard.sharding.ids import BotId
from router.access.guard import principal_in
from router.access.principal import owned_by
from router.errors import BadRequestError, NotReadyError, UnknownBotError, WrongMethodError
from router.explaining import explain_bot, table_document
from router.following import Following
from router.openapi import describe_bot_paths
from router.pools import Pools
from router.problems import Answer, problem_of, with_error_body
from router.table import BotRoute, Routes

__all__ = ["make_app"]

_MAX_BODY_BYTES: Final = 64 * 1024  # no call here has a larger one
_NAME: Final = "botshard-router"
_INDEX_BODY: Final = {
    "content": {"application/json": {"schema": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}}
}

_DESCRIPTION: Final = (
    """Serves thousands of bots by the Open Inference Protocol: knows where each is, and forwards the request."""
)


def make_app(
    routes: Routes,
    pools: Pools,
    following: Following,
    *,
    registry: CollectorRegistry,
    draining: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """The application behind the hot path."""
    app = FastAPI(
        title="botshard router",
        version=botshard.__version__,
        description=_DESCRIPTION,
        max_body_size=_MAX_BODY_BYTES,
        exception_handlers={
            HTTPException: _http_problem,
            RequestValidationError: _invalid_request,
            ShardingError: _our_problem,
            Exception: _bug,
        },
    )
    _add_health(app, routes, draining)
    _add_listings(app, routes)
    _add_admin(app, routes, pools, following)

    @app.get("/metrics", tags=["operation"], response_class=Response)
    def metrics() -> Response:
        """Prometheus metrics; their number depends on pools, never on bots."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    describe_bot_paths(app)
    return app


def _add_health(app: FastAPI, routes: Routes, draining: Callable[[], bool]) -> None:
    @app.get("/v2", tags=["protocol"])
    async def server() -> dict[str, object]:
        """Server metadata."""
        return server_metadata(name=_NAME, version=botshard.__version__, extensions=EXTENSIONS)

    @app.get("/v2/health/live", tags=["protocol"])
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=["protocol"])
    async def ready() -> dict[str, bool]:
        """A routing table and a catalog are there, and the router is not about to stop."""
        if draining():
            raise NotReadyError("the router is stopping", retry_after_s=1)
        if not routes.ready:
            missing = "routing table" if routes.table is None else "catalog"
            raise NotReadyError(f"no {missing} has been read yet", retry_after_s=1)
        return {"ready": True}


def _add_listings(app: FastAPI, routes: Routes) -> None:
    @app.get("/v2/models", tags=["protocol"])
    @app.get("/v1/models", tags=["protocol"])
    def models(request: Request) -> Response:
        """Names of all bots that are served; where it is asked who asks, those of their tenant."""
        return _json({"models": [name for name, _ in _visible(routes, request)]})

    @app.post("/v2/repository/index", tags=["protocol"], openapi_extra={"requestBody": _INDEX_BODY})
    def index(request: Request, ready_only: Annotated[bool, Depends(_ready_only)]) -> Response:
        """The same bots with version and state, in the form of the model repository extension."""
        entries = []
        for name, bot in _visible(routes, request):
            state, reason = ("READY", "") if routes.pools(bot) else ("UNAVAILABLE", "no pool yet")
            entries.append(IndexEntry(name, str(routes.served.of(bot).version), state, reason))
        return _json(repository_index(entries, ready_only=ready_only))


def _visible(routes: Routes, request: Request) -> list[tuple[BotId, BotRoute]]:
    principal = principal_in(request.scope)
    if principal is None:
        return sorted(routes.bots.items())
    return sorted((name, bot) for name, bot in routes.bots.items() if owned_by(principal, bot))


async def _ready_only(request: Request) -> bool:
    """What the body of an index request says, whatever its Content-Type: most clients send none."""
    body = await request.body()
    try:
        ready = json_object(body).get("ready", False) if body else False
    except InvalidInputError as error:
        raise BadRequestError(str(error)) from error
    if not isinstance(ready, bool):
        raise BadRequestError("ready must be true or false")
    return ready


def _add_admin(app: FastAPI, routes: Routes, pools: Pools, following: Following) -> None:
    @app.get("/admin/table", tags=["operation"])
    async def table() -> Response:
        """The routing table in force, what is in flight where, and what in the store was refused."""
        return _json(table_document(routes, pools, following))

    @app.get("/admin/bots/{bot}", tags=["operation"])
    async def explain(bot: str) -> Response:
        """Where a bot is and why: what it is computed from, family, shard, pools, epoch."""
        bot_id = BotId(bot)
        route = routes.find(bot_id)
        if route is None:
            route = await following.look_up(bot_id)
        entry = await following.entry(bot_id)
        if route is None and entry is None:
            raise UnknownBotError.of(bot)
        return _json(explain_bot(bot_id, route, entry, routes=routes, pools=pools))


def _json(document: object) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = answer.headers
    return response


async def _http_problem(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = tuple((error.headers or {}).get("Allow", "").replace("GET", "GET, HEAD").split(", "))
        return _response(problem_of(WrongMethodError(request.method, request.url.path, allowed=allowed)))
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    text = error.detail if isinstance(error.detail, str) else HTTPStatus(error.status_code).phrase
    return _response(with_error_body(error.status_code, text, *headers))


async def _invalid_request(_: Request, error: Exception) -> Response:
    error = cast(RequestValidationError, error)
    problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return _response(with_error_body(HTTPStatus.BAD_REQUEST, problems or "the request cannot be read"))


async def _our_problem(_: Request, error: Exception) -> Response:
    error = cast(ShardingError, error)
    return _response(problem_of(error))


async def _bug(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "internal error; the log has the details"}, HTTPStatus.INTERNAL_SERVER_ERROR)
