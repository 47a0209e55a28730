"""One request and its answer, as the connection sees it: what hot requests and those for an application share."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Protocol

from botshard.http1.answers import Answer
from botshard.http1.outflow import Outflow

__all__ = ["Exchange", "Link", "Refuse", "address_of"]


class Refuse(Protocol):
    """Writes the answer to what is no request: malformed, too large, too slow."""

    def __call__(self, status: int, text: str, fields: dict[bytes, bytes], /) -> Answer:
        """The answer; `fields` are the request's headers as far as they are known."""
        ...


class Link(Protocol):
    """The connection, as an exchange sees it."""

    peer: tuple[str, int] | None
    local: tuple[str, int] | None
    is_closing: bool
    out: Outflow
    """Whether the peer reads; once it does again, the exchange's `resumed` is called."""

    def watch(self, exchange: Exchange, /) -> None:
        """The exchange's deadline was set or moved."""

    def write(self, data: bytes, /) -> None:
        """Send bytes."""

    def read_on(self) -> None:
        """A body's bytes were taken; more may come."""

    def date_line(self) -> bytes:
        """The `Date` header."""
        ...

    def connection_line(self, exchange: Exchange, /) -> bytes:
        """The `Connection` header of the exchange's answer, or nothing; decides whether the connection is kept."""
        ...

    def reply(self, exchange: Exchange, answer: Answer, /) -> None:
        """Send a whole answer: the exchange is over."""

    def finished(self, exchange: Exchange, /) -> None:
        """The last byte of the exchange's answer was written."""

    def broken(self, exchange: Exchange, /) -> None:
        """The answer cannot be completed: the connection is of no use any more."""


def address_of(transport: asyncio.BaseTransport, name: str, /) -> tuple[str, int] | None:
    """Host and port of `peername` or `sockname`; None for sockets that have none."""
    found: Any = transport.get_extra_info(name)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "body_bytes",
        "deadline_s",
        "expects_continue",
        "fields",
        "headers",
        "is_over",
        "is_started",
        "is_whole",
        "keep_alive",
        "link",
        "method",
        "target",
        "version",
    )

    link: Link
    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    """As sent, names in lower case."""
    fields: dict[bytes, bytes]
    """The same by name; of several with one name, the last."""
    version: str
    """`1.1` or `1.0`."""
    keep_alive: bool
    expects_continue: bool

    def __init__(self) -> None:
        self.is_started = False
        """Its turn has come."""
        self.is_whole = False
        """The request's last byte is here."""
        self.is_over = False
        self.body_bytes = 0
        """Received so far."""
        self.deadline_s = math.inf
        """Monotonic instant by which it must be over."""

    @property
    def may_start(self) -> bool:
        """Whether it can be answered from now on."""
        return True

    @property
    def has_answered(self) -> bool:
        """Whether anything of the answer was written."""
        return False

    @property
    def is_full(self) -> bool:
        """Whether it holds so much of its body that reading should pause."""
        return False

    def begin(self) -> None:
        """The head is here."""

    def take(self, data: bytes, /) -> None:
        """A piece of the body; `body_bytes` counts it already."""

    def complete(self) -> None:
        """The last byte of the body is here."""

    def start(self) -> None:
        """Its turn: answer from now on."""

    def resumed(self) -> None:
        """The peer reads again; called only while it is the exchange's turn."""

    def expire(self) -> None:
        """`deadline_s` has passed."""

    def abandon(self) -> None:
        """Nobody waits for the answer any more; called at most once, and not after `over`."""

    def over(self) -> None:
        """Answered or abandoned: let go of everything. Called once."""
