"""Steady load from `drills.asker`, and what it has seen between two moments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from drills.bots import DrillBot

__all__ = ["Exchange", "Load", "Seen", "Span", "Stream", "running_load"]

Span: TypeAlias = tuple[float, float]
"""From a moment to another one, monotonic seconds."""

_STOP_S = 60.0
_OVER_S = 45.0
"""Within which any request is over, the asker's patience included."""
_POLL_S = 0.05


class Exchange(NamedTuple):
    """One request and what came of it."""

    stream: str
    due_s: float
    """When it was sent, monotonic seconds of this machine."""
    took_s: float
    bot: str
    status: int
    """0: no answer."""
    retry_after: str
    problem: str
    """Empty: the right answer."""

    @property
    def is_wrong(self) -> bool:
        """Whether it was answered, and not by that bot's weights."""
        return self.status == 200 and bool(self.problem)


@dataclass(frozen=True, slots=True)
class Stream:
    """Some bots that are asked in turn."""

    name: str
    rate_per_s: float
    bots: Sequence[DrillBot]
    most_open: int = 0
    """While so many requests of all streams are open, it asks nothing; 0: it never waits."""
    is_kept: bool = False
    """Whether connections are used again, as clients mostly do; otherwise each request has one of its own."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a stream has seen in some time."""

    exchanges: Sequence[Exchange]

    @property
    def failures(self) -> list[Exchange]:
        """Requests without an answer of 200."""
        return [exchange for exchange in self.exchanges if exchange.status != 200]

    @property
    def wrong(self) -> list[Exchange]:
        """Answers that other weights have given."""
        return [exchange for exchange in self.exchanges if exchange.is_wrong]

    def percentile_ms(self, share: float) -> float:
        """Latency that this share of the requests stayed under, milliseconds."""
        took = sorted(exchange.took_s for exchange in self.exchanges)
        return took[min(len(took) - 1, int(share * len(took)))] * 1e3 if took else float("nan")


class Load:
    """A load that runs."""

    def __init__(self, results: Path) -> None:
        self._path = results
        self._results = results.open()
        self._exchanges: list[Exchange] = []
        self._over_until_s = 0.0
        self._partial = ""

    def seen(self, stream: str, *spans: Span) -> Seen:
        """Requests that were due in these spans of time; waits until the last of them is over.

        Raises: TimeoutError where the load does not go on.
        """
        self._wait_until_over(max((until_s for _, until_s in spans), default=0.0))
        chosen = [
            exchange
            for exchange in self._exchanges
            if exchange.stream == stream and any(since_s <= exchange.due_s < until_s for since_s, until_s in spans)
        ]
        return Seen(chosen)

    def problems_since(self, since_s: float) -> list[Exchange]:
        """Whatever was not the right answer, of any stream."""
        self.read()
        return [exchange for exchange in self._exchanges if exchange.problem and exchange.due_s >= since_s]

    def watch(self, seconds: float) -> Span:
        """Let it run for so long; when that was."""
        since_s = time.monotonic()
        time.sleep(seconds)
        return since_s, time.monotonic()

    def read(self) -> None:
        """Take up what has come since."""
        if self._results.closed:
            return  # the load has ended, and all of it was read then
        text = self._partial + self._results.read()
        lines = text.split("\n")
        self._partial = lines.pop()
        for line in lines:
            said = json.loads(line)
            if isinstance(said, float):
                self._over_until_s = said
            else:
                self._exchanges.append(Exchange(*said))

    def _wait_until_over(self, until_s: float) -> None:
        deadline_s = time.monotonic() + _OVER_S
        self.read()
        while self._over_until_s < until_s:
            if self._results.closed or time.monotonic() > deadline_s:
                raise TimeoutError("the load has not come to the end of what it is asked for")
            time.sleep(_POLL_S)
            self.read()

    def close(self) -> None:
        """Read no more."""
        self._results.close()


@contextmanager
def running_load(folder: Path, url: str, streams: Sequence[Stream], *, environ: Mapping[str, str]) -> Iterator[Load]:
    """Load on a router within this context; after it, all results are there."""
    address = urlsplit(url)
    results = folder / "results.jsonl"
    results.touch()
    orders = folder / "orders.json"
    orders.write_text(
        json.dumps(
            {
                "host": address.hostname,
                "port": address.port,
                "results": str(results),
                "streams": [
                    {
                        "name": stream.name,
                        "ratePerS": stream.rate_per_s,
                        "mostOpen": stream.most_open,
                        "isKept": stream.is_kept,
                        "bots": [
                            {"id": bot.id, "question": bot.question, "answers": [bot.answer, *bot.others]}
                            for bot in stream.bots
                        ],
                    }
                    for stream in streams
                ],
            }
        )
    )
    load = Load(results)
    command = [sys.executable, "-m", "drills.asker", str(orders)]
    process = subprocess.Popen(command, env=dict(environ), cwd=Path(__file__).parent.parent, start_new_session=True)
    try:
        yield load
    finally:
        os.kill(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        load.read()
        load.close()
