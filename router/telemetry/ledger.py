"""Where the time of a cold request went: stages that add up to the wall time, told by the router and the replica.

A request is cold where it waited for a pool to come up, or for its bot to be loaded there. Two clocks are never
compared: the router knows when it sent the request and when the answer began, the replica tells how long the request
was there and how long it has listened at all. If it listens for less than the request is on its way, nobody was there
when the request was sent, and what the replica did not have it for was the pool's start.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from router.metrics import BUCKETS_S, histogram_rows

__all__ = [
    "STAGES",
    "ColdRequest",
    "ColdStart",
    "Ledger",
    "Marks",
    "read_cold_start",
    "tell_cold_start",
    "timing_of",
]

STAGES: Final = ("receive", "route", "wake", "fetch", "load", "queue", "predict", "network", "reply")
"""In the order of time, nearly:

- `receive`: until the request's body was here and its turn had come,
- `route`: until a pool was chosen, also waiting for a bot that was just published to have one,
- `wake`: until the pool had the request: connections, tries that failed, pauses between them, a pool's start,
- `fetch`: the bot's files came from store, sibling or disk,
- `load`: the bot was made from them and tried out,
- `queue`: waited at the replica for a loader, room, a thread or others of its batch,
- `predict`: the bot's own work: steps before the model, the model, steps after it,
- `network`: what neither side accounts for: the wire, both sockets, parsing,
- `reply`: from the head of the pool's answer to the last byte for the client.
"""
_WOKEN_S: Final = 0.05
"""So long no awake pool is waited for, be it over a new connection."""
_SERVER_TIMING: Final = b"server-timing: "
_PART: Final = re.compile(rb"([a-z]+);dur=([0-9.]+)")
_KEPT: Final = 256
_POOL: Final = "pool"
_BOT: Final = "bot"


class Marks(NamedTuple):
    """Instants of `time.monotonic` in a request's way."""

    began_s: float
    """Its head was here."""
    started_s: float
    """Its body was whole and its turn had come."""
    chosen_s: float
    """Its first pool was chosen."""
    sent_s: float
    """The try that was answered went out."""


@dataclass(slots=True)
class ColdStart:
    """What one cold request waited for."""

    waited_for: str
    """`pool`, or `bot` where only the bot was not there."""
    stages: dict[str, float]
    """Seconds by stage; all but `reply` as long as the answer is on its way."""

    def line(self) -> bytes:
        """As a header line, in milliseconds; `total` is the sum."""
        parts = ", ".join(f"{stage};dur={took_s * 1e3:.3f}" for stage, took_s in self.stages.items())
        return f"server-timing: {parts}, total;dur={sum(self.stages.values()) * 1e3:.3f}\r\n".encode()


class ColdRequest(NamedTuple):
    """A cold request that is over."""

    at_s: float
    """When it ended, seconds since 1970."""
    bot: str
    group: str
    pool: str
    status: int
    request_id: str
    waited_for: str
    took_s: float
    stages: dict[str, float]

    def document(self) -> dict[str, object]:
        """For people and programs."""
        return {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at_s)),
            "bot": self.bot,
            "group": self.group,
            "pool": self.pool,
            "status": self.status,
            "requestId": self.request_id,
            "waitedFor": self.waited_for,
            "tookS": round(self.took_s, 6),
            "stagesS": {stage: round(took_s, 6) for stage, took_s in self.stages.items()},
        }


def timing_of(lines: Sequence[bytes], /) -> bytes:
    """The line of a pool's answer that tells of a request that may have been cold; empty: there is none."""
    for line in lines:
        if line.startswith(_SERVER_TIMING):
            return line if line.startswith(b"up;", len(_SERVER_TIMING)) else b""
    return b""


def read_cold_start(marks: Marks, timing: bytes, head_s: float, /) -> ColdStart | None:
    """What a request waited for whose answer begins; None: it was not cold.

    Args:
        marks: of the request.
        timing: what `timing_of` gave for the answer.
        head_s: now, by the clock of the marks.
    """
    began_s, started_s, chosen_s, sent_s = marks
    wake_s, away_s = sent_s - chosen_s, head_s - sent_s
    told = {name: float(value) / 1e3 for name, value in _PART.findall(timing)} if timing else {}
    fetch_s, load_s, wait_s = told.get(b"fetch", 0.0), told.get(b"load", 0.0), told.get(b"wait", 0.0)
    here_s = told.get(b"all", 0.0)
    network_s = max(away_s - here_s, 0.0)
    is_new = bool(told) and told.get(b"up", away_s) < away_s
    if is_new:
        # What has just begun reads table and catalog first; that is the end of its start.
        wake_s, network_s, here_s = wake_s + network_s + wait_s, 0.0, here_s - wait_s
        wait_s = 0.0
    has_woken = is_new or wake_s >= _WOKEN_S
    if not has_woken and not (fetch_s or load_s or wait_s):
        return None
    predict_s = told.get(b"pre", 0.0) + told.get(b"predict", 0.0) + told.get(b"post", 0.0)
    stages = {
        "receive": started_s - began_s,
        "route": chosen_s - started_s,
        "wake": wake_s,
        "fetch": fetch_s,
        "load": load_s,
        "queue": max(here_s - fetch_s - load_s - predict_s, 0.0),
        "predict": predict_s,
        "network": network_s,
    }
    return ColdStart(_POOL if has_woken else _BOT, stages)


def tell_cold_start(marks: Marks, lines: list[bytes], head_s: float, /, *, tells_all: bool) -> ColdStart | None:
    """What `read_cold_start` gives for a pool's answer; with `tells_all` its header lines tell that to the client."""
    timing = timing_of(lines)
    if not timing and marks.sent_s - marks.chosen_s < _WOKEN_S:
        return None
    cold = read_cold_start(marks, timing, head_s)
    if cold is not None and tells_all:
        lines[:] = [line for line in lines if not line.startswith(_SERVER_TIMING)]
        lines.append(cold.line())
    return cold


class _Histogram:
    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0

    def observe(self, took_s: float) -> None:
        self.buckets[bisect_left(BUCKETS_S, took_s)] += 1
        self.seconds += took_s


class Ledger:
    """The last cold requests, and sums of all of them."""

    def __init__(self) -> None:
        self._last: deque[ColdRequest] = deque(maxlen=_KEPT)
        self._counts: dict[tuple[str, str], int] = {}
        self._stages: dict[tuple[str, str], _Histogram] = {}

    def note(self, cold: ColdRequest, /) -> None:
        """One more is over."""
        self._last.append(cold)
        key = (cold.group, cold.waited_for)
        self._counts[key] = self._counts.get(key, 0) + 1
        for stage, took_s in cold.stages.items():
            self._stages.setdefault((cold.group, stage), _Histogram()).observe(took_s)

    def last(self, bot: str | None = None, /, *, most: int = _KEPT) -> list[ColdRequest]:
        """The last ones, newest first, of one bot or of all."""
        return list(islice((cold for cold in reversed(self._last) if bot is None or cold.bot == bot), most))

    def families(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        counts = CounterMetricFamily(
            "botshard_router_cold_requests",
            "Requests that waited for a pool to come up or for their bot to be loaded",
            labels=("group", "waited_for"),
        )
        for (group, waited_for), count in list(self._counts.items()):
            counts.add_metric([group, waited_for], count)
        yield counts
        seconds = HistogramMetricFamily(
            "botshard_router_cold_seconds", "Where the time of cold requests went", labels=("group", "stage")
        )
        for (group, stage), histogram in list(self._stages.items()):
            seconds.add_metric([group, stage], histogram_rows(histogram.buckets), histogram.seconds)
        yield seconds
