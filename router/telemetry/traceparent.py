"""W3C trace context: reading and writing `traceparent`. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["TRACEPARENT", "Context", "read_traceparent", "traceparent_line"]

TRACEPARENT: Final = b"traceparent"
_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_BYTES: Final = 55
"""Of version 00, which has nothing behind the flags."""
_SAMPLED: Final = 1


class Context(NamedTuple):
    """Whose child a request is."""

    trace_id: int
    span_id: int
    is_sampled: bool


def read_traceparent(value: bytes, /) -> Context | None:
    """What the header says; None where it is not one, and then it is as if there were none."""
    value = value.strip()
    found = _FORM.fullmatch(value)
    if found is None or found[1] == b"ff" or (found[1] == b"00" and len(value) > _BYTES):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    if not trace_id or not span_id:
        return None
    return Context(trace_id, span_id, bool(int(found[4], 16) & _SAMPLED))


def traceparent_line(trace_id: int, span_id: int, /) -> bytes:
    """The header line of a span that is recorded."""
    return b"traceparent: 00-%032x-%016x-01\r\n" % (trace_id, span_id)
