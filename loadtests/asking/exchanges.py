"""What became of each request: written by the asking process a line each, read by whoever reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["UNKNOWN", "Exchange", "Results", "cause_of_answer", "is_cold", "read_results", "version_of"]

UNKNOWN = -1
"""Nobody said whether the request was cold, or which version answered it."""
_TOLERANCE = 1e-3
_COLD = ("wake", "wait", "fetch", "load")
"""What a request that found its bot in memory, and its pool awake, has no time in."""
_LONGEST_CAUSE = 80


class Exchange(NamedTuple):
    """One request and what came of it."""

    at_s: float
    """When it was due, from the beginning of the timetable."""
    late_s: float
    """How much later than that it was sent: what the load generator is to blame for, or the number of its users."""
    took_s: float
    """From when it was due to the last byte of its answer."""
    bot: int
    phase: int
    protocol: str
    cause: str
    """What went wrong, without anything that differs from request to request; empty: it was answered rightly."""
    cold: int
    """1: its bot was not in memory, or its pool not awake; 0: it was; `UNKNOWN`."""
    version: int
    """Which of the bot's versions gave the answer; `UNKNOWN`."""


@dataclass(frozen=True, slots=True)
class Results:
    """All that an asking process has written."""

    exchanges: Sequence[Exchange]
    began_s: float
    """Monotonic seconds of this machine at the timetable's beginning; 0: it never began."""
    until_s: float
    """From the beginning, up to when it has asked."""
    is_whole: bool
    """Whether it came to its timetable's end."""
    cpu_s: float
    """Of the asking process, from the beginning to the end."""


def read_results(path: Path) -> Results:
    """What is there so far; a half line at the end, of a process that was killed, is left out."""
    exchanges: list[Exchange] = []
    said: dict[str, float] = {}
    text = path.read_text() if path.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():
        document: Any = json.loads(line)
        if isinstance(document, dict):
            said.update(document)
        else:
            exchanges.append(Exchange(*document))
    exchanges.sort()
    last_s = exchanges[-1].at_s if exchanges else 0.0
    return Results(exchanges, said.get("began", 0.0), said.get("until", last_s), "until" in said, said.get("cpu", 0.0))


def version_of(data: object, answers: Sequence[Sequence[float]]) -> int:
    """Which of the answers this is, from 1 on; 0: none of them."""
    if not isinstance(data, Iterable):
        return 0
    given = list(data)
    for version, answer in enumerate(answers, 1):
        if len(given) == len(answer) and all(
            isinstance(one, (int, float)) and abs(one - right) <= _TOLERANCE
            for one, right in zip(given, answer, strict=True)
        ):
            return version
    return 0


def is_cold(server_timing: str) -> int:
    """Whether a request was cold, by the `Server-Timing` of its answer."""
    if not server_timing:
        return UNKNOWN
    names = {entry.split(";")[0].strip() for entry in server_timing.split(",") if "dur=0.000" not in entry}
    return int(not names.isdisjoint(_COLD))


def cause_of_answer(status: object, reason: str, bot: str) -> str:
    """A status and its reason without the bot, and without numbers: one cause, however many bots it strikes."""
    words = ["N" if any(map(str.isdigit, word)) else word for word in reason.replace(bot, "BOT").split()]
    return f"{status} {' '.join(words)}"[:_LONGEST_CAUSE].rstrip()
