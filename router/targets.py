"""Which requests go to a bot: the paths that are forwarded, and the bot in them. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

import httptools

from router.errors import WrongMethodError

__all__ = ["Target", "read_request_target", "read_target"]

_V2: Final = "/v2/models/"
_V1: Final = "/v1/models/"
_V1_ACTIONS: Final = (":predict", ":explain")
_REPOSITORY: Final = "/v2/repository/models/"
_REPOSITORY_ACTIONS: Final = ("load", "unload")
_PLAIN_INFER: Final = re.compile(rb"/v2/models/([A-Za-z0-9._-]+)/infer")
_POST: Final[tuple[str, ...]] = ("POST",)
_READ: Final[tuple[str, ...]] = ("GET", "HEAD")


class Target(NamedTuple):
    """A request to a bot."""

    bot: str
    versioned: bool
    """Whether the path names a version: then a pool's 404 may be about that version."""


def read_target(method: str, path: str, /) -> Target | None:
    """The bot that a request is for; None where the path is not one of a bot.

    ```
    POST      /v2/models/{bot}[/versions/{version}]/infer
    GET HEAD  /v2/models/{bot}[/versions/{version}][/ready]
    POST      /v2/repository/models/{bot}/load|unload
    POST      /v1/models/{bot}:predict|:explain
    GET HEAD  /v1/models/{bot}
    ```

    Raises: WrongMethodError.
    """
    if path.startswith(_V2):
        found = _read_v2(path[len(_V2) :])
    elif path.startswith(_V1):
        found = _read_v1(path[len(_V1) :])
    elif path.startswith(_REPOSITORY):
        bot, _, action = path[len(_REPOSITORY) :].partition("/")
        found = (Target(bot, False), _POST) if action in _REPOSITORY_ACTIONS else None
    else:
        return None
    if found is None:
        return None
    target, allowed = found
    if not target.bot or "/" in target.bot:
        return None
    if method not in allowed:
        raise WrongMethodError(method, path, allowed=allowed)
    return target


def _read_v2(rest: str) -> tuple[Target, tuple[str, ...]] | None:
    bot, slash, action = rest.partition("/")
    versioned = action.startswith("versions/")
    if versioned:
        version, slash, action = action[len("versions/") :].partition("/")
        if not version:
            return None
    if action == "infer":
        return Target(bot, versioned), _POST
    if action == "ready" or not (action or slash):
        return Target(bot, versioned), _READ
    return None


def _read_v1(rest: str) -> tuple[Target, tuple[str, ...]]:
    if rest.endswith(_V1_ACTIONS):
        return Target(rest.rpartition(":")[0], False), _POST
    return Target(rest, False), _READ


def read_request_target(method: bytes, target: bytes, /) -> tuple[Target, bytes] | None:
    """The bot that a request line is for, and path and query as they are sent on; None where there is no bot.

    What was routed by is what the pool reads, however the client quoted it.

    Raises: WrongMethodError.
    """
    plain = _PLAIN_INFER.fullmatch(target)
    if plain is not None and method == b"POST":
        return Target(plain[1].decode(), False), target
    try:
        url = httptools.parse_url(target)
        raw_path = url.path or b"/"
        path = unquote(raw_path.decode("ascii"))
    except (httptools.HttpParserError, ValueError):
        return None
    found = read_target(method.decode("ascii"), path)
    if found is None:
        return None
    sent = quote(path, safe="/:").encode() if b"%" in raw_path else raw_path
    return found, sent + b"?" + url.query if url.query else sent
