"""A way around the parser for requests that are known by their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from botshard.http1.exchange import Exchange

if TYPE_CHECKING:
    from botshard.http1.connection import Connection

__all__ = ["Shortcut"]


class Shortcut(Protocol):
    """Asked for what comes on a connection between requests, before the parser sees it."""

    def take(self, link: Connection, data: bytes, /) -> bool:
        """Whether `data` is one whole request that is taken care of: an exchange of it was given to `link.take_up`."""
        ...

    def learn(self, exchange: Exchange, data: bytes, /) -> None:
        """The parser has read `data`, and found `exchange` first in it."""
