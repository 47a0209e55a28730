"""W3C Trace Context as a proxy treats it that takes no part in a trace: passed on untouched, or dropped. Pure.

Whoever cannot read `traceparent` must not send it on, nor a `tracestate` beside it: the next in the chain would join
traces that have nothing to do with each other. A `tracestate` that cannot be read is dropped alone.

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["TRACEPARENT", "TRACESTATE", "Context", "is_traceparent", "is_tracestate", "read_traceparent"]

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"

_PARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?", re.ASCII
)
"""Later versions may have more fields at the end."""
_SAMPLED: Final = 1
_MEMBER: Final = re.compile(
    rb"[ \t]*(?:"
    rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
    rb")?[ \t]*"
)
"""A key and a value, or nothing: empty members are allowed."""
_MAX_MEMBERS: Final = 32


class Context(NamedTuple):
    """Whose child a request is."""

    trace_id: int
    span_id: int
    is_sampled: bool


def read_traceparent(value: bytes, /) -> Context | None:
    """What the header says; None where it is not one, and then it is as if there were none."""
    found = _PARENT.fullmatch(value)
    if found is None or (found[1] == b"00" and found[5] is not None):
        return None
    return Context(int(found[2], 16), int(found[3], 16), bool(int(found[4], 16) & _SAMPLED))


def is_traceparent(value: bytes, /) -> bool:
    """Whether this is one, of this version of the specification or a later one."""
    return read_traceparent(value) is not None


def is_tracestate(value: bytes, /) -> bool:
    """Whether this is one; of several headers, their values joined by commas."""
    members = value.split(b",")
    if len(members) > _MAX_MEMBERS:
        members = [member for member in members if member.strip(b" \t")]
    if len(members) > _MAX_MEMBERS:
        return False
    keys: set[bytes] = set()
    for member in members:
        if _MEMBER.fullmatch(member) is None:
            return False
        key = member.partition(b"=")[0].strip(b" \t")
        if key and key in keys:
            return False
        keys.add(key)
    return True
