"""What was read before, by its very bytes: request lines, the other lines of requests' heads, heads of answers. Pure.

Only heads that the strict parsers have accepted are kept, and only plain ones: what is found again by equal bytes means
what it meant then. Each store is bounded, oldest out first; a head is kept when it comes the second time, so that heads
which no two requests share push nothing out.
"""

from __future__ import annotations

import re
from typing import Any, Final, Generic, TypeVar

from botshard.sharding.routing import PoolRoute
from router.access.principal import Principal
from router.heads import RequestHead, forwarded_line
from router.table import BotRoute
from router.upstream import Headers

__all__ = [
    "KnownAnswer",
    "KnownFields",
    "KnownLine",
    "Remembered",
    "make_room",
    "split_ids",
    "split_timing",
    "without_times",
]

_T = TypeVar("_T")
_MAX_HEAD_BYTES: Final = 2048
_MAX_CLIENTS: Final = 64
_IDS: Final = re.compile(rb"(?im)^(x-request-id|traceparent|tracestate): ([!-~]{1,128})\r\n")
_TIMING_START: Final = b"\nserver-timing: "
_TIMING: Final = re.compile(rb"server-timing: [ -~]{1,512}\r\n(?![ \t])")

_TIMES: Final = re.compile(rb"(?im)^(?:date|x-envoy-upstream-service-time): [ -~]{1,64}\r\n(?![ \t])")


class Remembered(Generic[_T]):
    """Values by bytes. Read `found` directly: every request does."""

    __slots__ = ("_bound", "_seen", "found")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._seen: dict[int, None] = {}
        """Hashes of what came once; a chance collision keeps something a request too early, no more."""
        self.found: dict[bytes, _T] = {}

    def is_due(self, key: bytes, /) -> bool:
        """Whether this has come before, and is not kept yet."""
        if len(key) > _MAX_HEAD_BYTES or key in self.found:
            return False
        mark = hash(key)
        if mark in self._seen:
            del self._seen[mark]
            return True
        make_room(self._seen, self._bound)
        self._seen[mark] = None
        return False

    def keep(self, key: bytes, value: _T, /) -> None:
        """Keep it; something older may go for it."""
        make_room(self.found, self._bound)
        self.found[key] = value


def make_room(kept: dict[Any, Any], bound: int, /) -> None:
    """Let the oldest go where there are as many as may be."""
    if len(kept) >= bound:
        del kept[next(iter(kept))]


class KnownLine:
    """A request line: which bot is asked, and where the bot was when somebody last looked."""

    __slots__ = ("bot", "path", "route", "routed", "turn")

    def __init__(self, bot: str, path: bytes) -> None:
        self.bot = bot
        self.path = path
        self.turn = -1
        """Of table and catalog that `route` and `routed` are from."""
        self.route: BotRoute | None = None
        self.routed: tuple[PoolRoute, ...] = ()


class KnownFields:
    """All other lines of a request's head, but those that carry ids."""

    __slots__ = ("body_bytes", "head", "headers", "principal", "sent")

    def __init__(self, headers: Headers, head: RequestHead, body_bytes: int) -> None:
        self.headers = headers
        self.head = head
        self.body_bytes = body_bytes
        self.sent: dict[str, bytes] = {}
        """What goes on of it, by the client's address."""
        self.principal: Principal | None = None
        """Who asks, as the gate knew them last."""

    def send_for(self, peer: tuple[str, int] | None, scheme: str, /) -> bytes:
        """What goes on of it for a client that is not in `sent` yet."""
        if len(self.sent) >= _MAX_CLIENTS:
            self.sent.clear()
        forwarded = forwarded_line(self.head, peer, scheme)
        sent = b"%b%bcontent-length: %d\r\n" % (self.head.lines, forwarded, self.body_bytes)
        self.sent[peer[0] if peer else ""] = sent
        return sent


class KnownAnswer:
    """The head of a pool's answer, but for the request's own id."""

    __slots__ = ("body_bytes", "epoch", "has_pool", "rest", "start", "status")

    def __init__(self, status: int, start: bytes, *, body_bytes: int, epoch: int, has_pool: bool) -> None:
        self.status = status
        self.start = start
        """Status line and header lines that go on."""
        self.rest = b"content-length: %d\r\n\r\n" % body_bytes
        self.body_bytes = body_bytes
        self.epoch = epoch
        """0: it does not say."""
        self.has_pool = has_pool


def split_ids(lines: bytes, /) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Header lines without those that carry a request's own ids; and the ids, by name as it was written."""
    ids = _IDS.findall(lines)
    return (_IDS.sub(b"", lines), ids) if ids else (lines, ids)


def without_times(lines: bytes, /) -> bytes:
    """An answer's header lines without those that differ from second to second, and are dropped anyway."""
    return _TIMES.sub(b"", lines)


def split_timing(lines: bytes, /) -> tuple[bytes, bytes]:
    """An answer's head without the line that tells where its own time went; and that line, or nothing."""
    at = lines.find(_TIMING_START)
    found = None if at < 0 else _TIMING.match(lines, at + 1)
    return (lines, b"") if found is None else (lines[: found.start()] + lines[found.end() :], found[0])
