"""One traced request: a span for what the client asked, and one for each try at a pool. Knows no library.

What happens is noted with the wall clock while it happens; spans are made of the notes once the request is over. The
ids are there from the beginning, since a pool is told whose child it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random, SystemRandom
from typing import Final, NamedTuple

from botshard.oip.trace_context import TRACEPARENT, Context, read_traceparent

__all__ = ["Trace", "Tracing", "Try"]

_LINE_START: Final = TRACEPARENT + b": "


class Try(NamedTuple):
    """One try at a pool that is over."""

    span_id: int
    pool: str
    authority: str
    began_ns: int
    ended_ns: int
    status: int
    """Of the pool's answer; 0: none came."""
    failure: str
    """Why another try followed or the request failed; empty: it was answered."""


class Trace:
    """The trace of one request."""

    __slots__ = ("_new_id", "_try", "began_ns", "parent_id", "span_id", "trace_id", "tries")

    def __init__(self, new_id: Callable[[int], int], parent: Context | None) -> None:
        self._new_id = new_id
        self.trace_id = parent.trace_id if parent is not None else new_id(128)
        self.parent_id = parent.span_id if parent is not None else 0
        """0: nobody asked in the name of a span."""
        self.span_id = new_id(64)
        self.began_ns = time.time_ns()
        self.tries: list[Try] = []
        self._try: tuple[int, str, str, int] | None = None

    @property
    def trace_hex(self) -> str:
        """As logs and pages have it."""
        return f"{self.trace_id:032x}"

    def try_begins(self, pool: str, authority: bytes, /) -> None:
        """A pool was chosen; one that was tried before has failed."""
        self.try_ends("failed")
        self._try = (self._new_id(64), pool, authority.decode(), time.time_ns())

    def try_ends(self, failure: str = "", /, *, status: int = 0) -> None:
        """The try under way is over, if one is."""
        if self._try is not None:
            span_id, pool, authority, began_ns = self._try
            self._try = None
            self.tries.append(Try(span_id, pool, authority, began_ns, time.time_ns(), status, failure))

    def head(self, head: bytes, /) -> bytes:
        """The head of the try under way: the pool continues this trace, below the try's own span."""
        if self._try is None:
            return head
        return head[:-2] + traceparent_line(self.trace_id, self._try[0]) + b"\r\n"

    @staticmethod
    def without_parent(lines: bytes, /) -> bytes:
        """A client's header lines without the one that `head` writes anew."""
        if _LINE_START not in lines:
            return lines
        return b"".join([line for line in lines.splitlines(keepends=True) if not line.startswith(_LINE_START)])


class Tracing:
    """Which requests are traced: those whose caller traces them, and a share of those whose caller does not say."""

    def __init__(self, share: float, *, random: Random | None = None) -> None:
        self._random = random or Random(SystemRandom().getrandbits(64))  # noqa: S311 - ids of traces are no secrets
        self._share = share

    def look(self, traceparent: bytes | None, /) -> Trace | None:
        """The trace of a request with this header; None: it is not traced."""
        parent = None if traceparent is None else read_traceparent(traceparent)
        if parent is not None:
            return Trace(self._new_id, parent) if parent.is_sampled else None
        return Trace(self._new_id, None) if self._random.random() < self._share else None

    def _new_id(self, bits: int) -> int:
        return self._random.getrandbits(bits) or 1


def traceparent_line(trace_id: int, span_id: int, /) -> bytes:
    """The header line of a span that is recorded."""
    return b"traceparent: 00-%032x-%016x-01\r\n" % (trace_id, span_id)
