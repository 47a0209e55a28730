"""The paths of the hot path in the OpenAPI page: FastAPI does not serve them, so it has to be told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

__all__ = ["describe_bot_paths"]

_ERROR: Final = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_ERRORS: Final = {
    "400": "The request is wrong; the text names the tensor",
    "401": "Where it is asked who asks: nothing good says so",
    "403": "Who asks has not the role for it",
    "404": "There is no such bot",
    "413": "The body is larger than the limit",
    "429": "A limit of the tenant or the bot is reached; Retry-After says when to ask again",
    "503": "No pool can answer now; Retry-After says when to ask again",
    "504": "No answer within the time limit",
}


def describe_bot_paths(app: FastAPI, /) -> None:
    """Add the forwarded paths to what `app` says of itself."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        schema = described()
        for path, method, summary in _PATHS:
            schema["paths"].setdefault(path, {})[method] = _operation(path, method, summary)
        return schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the schema


_PATHS: Final = (
    ("/v2/models/{bot}/infer", "post", "Ask a bot"),
    ("/v2/models/{bot}/versions/{version}/infer", "post", "Ask a version of a bot"),
    ("/v2/models/{bot}", "get", "A bot's inputs and outputs"),
    ("/v2/models/{bot}/versions/{version}", "get", "A version's inputs and outputs"),
    ("/v2/models/{bot}/ready", "get", "Whether a bot can answer"),
    ("/v2/models/{bot}/versions/{version}/ready", "get", "Whether a version of a bot can answer"),
    ("/v2/repository/models/{bot}/load", "post", "Load a bot on one replica, before it is asked"),
    ("/v2/repository/models/{bot}/unload", "post", "Unload a bot of a group that is not realtime, on one replica"),
    ("/v1/models/{bot}:predict", "post", "Ask a bot by the V1 protocol"),
    ("/v1/models/{bot}", "get", "Whether a bot can answer, by the V1 protocol"),
)


def _operation(path: str, method: str, summary: str) -> dict[str, Any]:
    names = [name for name in ("bot", "version") if f"{{{name}}}" in path]
    operation: dict[str, Any] = {
        "summary": summary,
        "tags": ["bots"],
        "parameters": [_parameter(name) for name in names],
        "responses": {"200": {"description": "The bot's answer"}, **_error_responses()},
    }
    if method == "post":
        content = {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": {}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameter(name: str) -> Mapping[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _error_responses() -> dict[str, Any]:
    content = {"application/json": {"schema": _ERROR}}
    return {status: {"description": text, "content": content} for status, text in _ERRORS.items()}
