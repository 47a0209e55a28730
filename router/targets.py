"""Which requests go to a bot: the paths that are forwarded, and the bot in them. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote

from router.errors import WrongMethodError

__all__ = ["Target", "canonical_path", "read_target"]

_V2: Final = "/v2/models/"
_V1: Final = "/v1/models/"
_PREDICT: Final = ":predict"
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
    POST      /v1/models/{bot}:predict
    GET HEAD  /v1/models/{bot}
    ```

    Raises: WrongMethodError.
    """
    versioned = False
    if path.startswith(_V2):
        bot, slash, action = path[len(_V2) :].partition("/")
        if action.startswith("versions/"):
            version, slash, action = action[len("versions/") :].partition("/")
            versioned = True
            if not version:
                return None
        if action == "infer":
            allowed = _POST
        elif action == "ready" or not (action or slash):
            allowed = _READ
        else:
            return None
    elif path.startswith(_V1):
        bot = path[len(_V1) :]
        allowed = _READ
        if bot.endswith(_PREDICT):
            bot, allowed = bot[: -len(_PREDICT)], _POST
    else:
        return None
    if not bot or "/" in bot:
        return None
    if method not in allowed:
        raise WrongMethodError(f"{method} is not a method of {path}; use {' or '.join(allowed)}", allowed=allowed)
    return Target(bot, versioned)


def canonical_path(raw_path: bytes, path: str, /) -> bytes:
    """The path as it is sent on: what was routed by is what the pool reads, however the client quoted it."""
    return quote(path, safe="/:").encode() if b"%" in raw_path else raw_path
