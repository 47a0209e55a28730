"""The pages on requests: why a bot is where it is, and where the time of the last cold requests went."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from fastapi import FastAPI, Query, Request, Response

from botshard.sharding.ids import BotId
from router.explaining import find_bot
from router.following import Following
from router.limits import Limits
from router.pools import Pools
from router.table import Routes
from router.telemetry.explained import explain_fully, text_of
from router.telemetry.telemetry import Telemetry

__all__ = ["add_telemetry"]


def add_telemetry(
    app: FastAPI, routes: Routes, pools: Pools, following: Following, *, telemetry: Telemetry, limits: Limits
) -> None:
    """Add the pages to the application behind the hot path."""

    @app.get("/admin/explain/{bot}", tags=["operation"])
    async def explain(
        bot: str, request: Request, form: Annotated[Literal["json", "text"] | None, Query(alias="format")] = None
    ) -> Response:
        """Why a bot is where it is and how it fares there; `?format=text` or `Accept: text/plain` for people."""
        bot_id = BotId(bot)
        route, entry = await find_bot(bot_id, routes=routes, following=following)
        document = explain_fully(bot_id, route, entry, routes=routes, pools=pools, telemetry=telemetry, limits=limits)
        if (form or _wanted(request)) == "text":
            return Response(text_of(document), media_type="text/plain; charset=utf-8")
        return Response(orjson.dumps(document), media_type="application/json")

    @app.get("/admin/ledger", tags=["operation"])
    async def ledger(bot: str | None = None, most: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        """Where the time of the last cold requests went, newest first; of one bot or of all."""
        found = [one.document() for one in telemetry.ledger.last(bot, most=most)]
        return Response(orjson.dumps({"requests": found}), media_type="application/json")


def _wanted(request: Request) -> str:
    return "text" if request.headers.get("accept", "").startswith("text/plain") else "json"
