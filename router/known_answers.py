"""Heads of pools' answers that were read before, and what goes back to clients of them."""

from __future__ import annotations

from typing import Final

from botshard.http1.answers import status_line
from router.answers import Verdict, judge
from router.heads import REQUEST_ID, read_answer_head
from router.remembered import KnownAnswer, Remembered, make_room, split_timing, without_times
from router.upstream import Connection

__all__ = ["KnownAnswers"]

_BOUND: Final = 1024
_PLAIN_SUCCESS: Final = 200
_TIMING: Final = b"server-timing"
_MAYBE_COLD: Final = b"server-timing: up;"


class KnownAnswers:
    """Known is a head without what is each answer's own: the request's id, the second of its `Date`, its timing."""

    def __init__(self) -> None:
        self._known: Remembered[KnownAnswer] = Remembered(_BOUND)
        self.as_sent: dict[bytes, KnownAnswer] = {}
        """The same by their very bytes, where these have nothing of a request's own: good for a second."""

    def __len__(self) -> int:
        return len(self._known.found)

    def find(self, lines: bytes, id_line: bytes, /) -> tuple[KnownAnswer | None, bytes]:
        """What is known of an answer that is not in `as_sent`; and its line that tells where its own time went."""
        kept = lines.replace(id_line, b"", 1)
        stripped, timing = split_timing(kept)
        known = self._known.found.get(without_times(stripped))
        if known is None or timing.startswith(_MAYBE_COLD):
            return None, timing
        if len(kept) == len(lines) and not timing:
            make_room(self.as_sent, _BOUND)
            self.as_sent[lines] = known
        return known, timing

    def learn(self, connection: Connection, data: bytes, id_line: bytes, /) -> None:
        """An answer was read by the parser; `data` were its first bytes."""
        end = data.find(b"\r\n\r\n")
        if end < 0 or not connection.reusable or connection.status != _PLAIN_SUCCESS:
            return
        stripped, timing = split_timing(data[: end + 2].replace(id_line, b"", 1))
        lines = without_times(stripped)
        if not self._known.is_due(lines):
            return
        split = (REQUEST_ID, _TIMING) if timing else (REQUEST_ID,)
        headers = [(name, value) for name, value in connection.headers if name not in split]
        head = read_answer_head(headers)
        has_others = len(headers) != len(connection.headers) - data[: end + 2].count(id_line) - bool(timing)
        if head.length is None or has_others or judge(connection.status, head) is not Verdict.FORWARD:
            return
        epoch = int(head.epoch) if head.epoch.isdigit() else 0
        start = status_line(connection.status) + b"".join(head.lines)
        known = KnownAnswer(connection.status, start, body_bytes=head.length, epoch=epoch, has_pool=head.has_pool)
        self._known.keep(lines, known)
