"""What must hold for any bytes that a client sends over a connection.

However they are cut into pieces, the same is answered. The connection ends once the client has, every request that was
begun is over, nothing is told to the loop's handler of exceptions. And the requests that were read are those that
another parser (h11) reads, as far as both go on: where two servers read one stream differently, a request can be
smuggled.
"""

from __future__ import annotations

import asyncio
import random
import re
import zlib
from itertools import pairwise

import h11

from botshard.http1.limits import Limits
from fuzz.http_front import Heard, Seen, feed

__all__ = ["check"]

_WIDE = Limits()
_NARROW = Limits(
    max_body_bytes=40, max_head_bytes=120, max_discard_bytes=20, max_queued=2, buffered_body_bytes=8, linger_s=0.0
)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_DATE = re.compile(rb"date: [^\r]*\r\n")
_NOT_READ = (b"/early", b"/defect", b"/half")
"""Targets whose body the application does not wait for."""


def check(data: bytes) -> None:
    """One input. Raises: AssertionError, or whatever defect there is."""
    cuts = random.Random(zlib.crc32(data))
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        whole = runner.run(feed([data], _WIDE))
        cut = runner.run(feed(_pieces(data, cuts), _WIDE))
        narrow = runner.run(feed(_pieces(data, cuts), _NARROW))
    for seen in (whole, cut, narrow):
        _is_sound(seen)
    if b"expect" not in data.lower():
        # With it, whether a body is here already decides whether it is asked for.
        assert _comparable(whole) == _comparable(cut), (whole.sent, cut.sent)
        assert whole.heard == cut.heard, (whole.heard, cut.heard)
        _agrees_with_h11(data, whole)


def _pieces(data: bytes, cuts: random.Random) -> list[bytes]:
    if cuts.random() < 0.2:
        return [data[at : at + 1] for at in range(len(data))]
    ends = sorted({cuts.randrange(len(data) + 1) for _ in range(cuts.randrange(1, 9))})
    return [data[start:end] for start, end in pairwise([0, *ends, len(data)]) if end > start]


def _is_sound(seen: Seen) -> None:
    assert seen.is_lost, "the connection does not end"
    assert seen.begun == seen.over, (seen.begun, seen.over)
    assert b"callback" not in seen.sent, "a defect of ours is answered as if the request were malformed"
    # An application that fails is told to its server's log, not to the loop.
    assert not seen.problems, seen.problems
    assert not seen.sent or seen.sent.startswith(b"HTTP/1.1 "), seen.sent


def _comparable(seen: Seen) -> bytes:
    return _DATE.sub(b"", seen.sent.replace(_CONTINUE, b""))


def _agrees_with_h11(data: bytes, seen: Seen) -> None:
    other = [heard for heard in _read_by_h11(data) if not heard.target.startswith(_NOT_READ)]
    for ours, theirs in zip(seen.heard, other, strict=False):
        assert ours == theirs, (ours, theirs)


def _read_by_h11(data: bytes) -> list[Heard]:
    """Whole requests, up to what h11 takes for none, or for the last one."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found: list[Heard] = []
    request: h11.Request | None = None
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return found
        match event:
            case h11.Request():
                request, body = event, b""
            case h11.Data():
                body += bytes(event.data)
            case h11.EndOfMessage() if request is not None:
                found.append(Heard(request.method, request.target, body))
                if connection.our_state is not h11.SEND_RESPONSE or connection.their_state is not h11.DONE:
                    return found
                # Answered, so that the next one is read.
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                try:
                    connection.start_next_cycle()
                except h11.LocalProtocolError:  # it was the last one
                    return found
            case _:
                return found
