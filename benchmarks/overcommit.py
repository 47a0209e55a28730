"""Far more bots than fit into memory: `python -m benchmarks.overcommit [--bots 20000] [--room 1000] [--minutes 5]`.

That many text bots, each with weights of its own, are published to an empty store; one replica has room for some of
them, and they are asked by Zipf's law. What it can do is measured in a closed loop, first; then requests come at random
moments at 70 % of that, each answer compared with what the bot's weights give. A miss is a request during which its bot
was loaded, by the replica's log; a request that waits for another one's load is one as well.
"""

from __future__ import annotations

import bisect
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import orjson

from benchmarks.bots import OwnBot, own_bots
from benchmarks.fleet_asking import QUESTION, difference_of
from benchmarks.http_load import run_clients
from benchmarks.open_load import Exchanges, run_open_load
from benchmarks.pool_bots import infer_request, publish_all
from benchmarks.pool_loops import footprint_bytes
from benchmarks.pool_rest import replica
from benchmarks.pool_subjects import Subject, ask_once, on_core, running
from benchmarks.report import Row, parser, publish

_HINT = "16Ki"
"""What the authors think that a bot takes: until it is measured, so much room is made for it."""
_EXPONENT = 1.0
_LOAD_RATIO = 0.7
_CONNECTIONS = 64
_READY = b"GET /pool/ready HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
_READY_S = 120.0
_WARM_UP_S = 20.0
_CAPACITY_S = 15.0
_CLOCK_S = 0.002
"""How far the log's clock, which tells milliseconds, may be from ours."""
_TOLERANCE = 1e-5


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("Far more bots than fit into memory")
    options.add_argument("--bots", type=int, default=20_000)
    options.add_argument("--room", type=int, default=1_000, help="bots that memory has room for")
    options.add_argument("--minutes", type=float, default=5.0)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="botshard-overcommit-") as folder:
        rows = _measure(Path(folder), chosen.bots, chosen.room, seconds=chosen.minutes * 60.0)
    return publish(rows, chosen.json)


def _measure(folder: Path, count: int, room: int, *, seconds: float) -> list[Row]:
    bots = own_bots(folder / "bots", count, memory=_HINT)
    published = publish_all(folder, [bot.folder for bot in bots])
    size_bytes = footprint_bytes(folder, bots[0].id)
    requests = [infer_request(bot.id, QUESTION) for bot in bots]
    ours = replica(published, requests)
    ours.environ = {
        **ours.environ,
        "RUNTIME_POOL_MEMORY": str(size_bytes * room),
        "RUNTIME_OVERCOMMIT": "100",
        "RUNTIME_LOG_LEVEL": "DEBUG",
        "RUNTIME_LOG_FORMAT": "json",
    }
    with running([ours]), on_core(max(os.sched_getaffinity(0))):
        _wait_until_ready(ours)
        _closed(ours, requests, _WARM_UP_S, seed=1, connections=4)  # bots come from the store, which takes longer
        capacity_per_s = _closed(ours, requests, _CAPACITY_S, seed=2)
        rate_per_s = _LOAD_RATIO * capacity_per_s
        draw = np.random.default_rng(3)
        moments = np.cumsum(draw.exponential(1 / rate_per_s, int(rate_per_s * seconds)))
        arrivals = list(zip(moments.tolist(), _zipf(len(moments), count, seed=3), strict=True))
        seen = run_open_load(ours.port, requests, arrivals, connections=_CONNECTIONS, check=_Check(bots))
        rows = _rows(seen, _misses(seen, ours, bots), capacity_per_s, rate_per_s)
        rows.append(Row("bots in memory at the end", _resident(ours), bar=f"≤ {room}", ok=_resident(ours) <= room))
    return rows


def _zipf(length: int, count: int, *, seed: int) -> list[int]:
    """Bots by Zipf's law; which of them are popular has nothing to do with their names."""
    weights = np.arange(1, count + 1, dtype=float) ** -_EXPONENT
    by_rank = np.random.default_rng(0).permutation(count)
    ranks = np.random.default_rng(seed).choice(count, length, p=weights / weights.sum())
    drawn: list[int] = by_rank[ranks].tolist()
    return drawn


def _closed(
    subject: Subject, requests: Sequence[bytes], seconds: float, *, seed: int, connections: int = _CONNECTIONS
) -> float:
    """Requests a second that it answers when always as many are under way."""
    draws = [_zipf(4_000, len(requests), seed=1000 * seed + number) for number in range(connections)]
    series = [[requests[bot] for bot in drawn] for drawn in draws]
    load = run_clients(subject.port, series, seconds=seconds)
    if load.failed:
        raise RuntimeError(f"{load.failed} of {load.answered} requests failed: {load.first_failure}")
    return load.per_s


class _Check:
    """Compares answers with the bots' weights; one that a bot has given before is known by its bytes."""

    def __init__(self, bots: Sequence[OwnBot]) -> None:
        self._bots = bots
        self._right: dict[int, set[bytes]] = defaultdict(set)

    def __call__(self, bot: int, body: bytes) -> str:
        if body in self._right[bot]:
            return ""
        difference, label_is_right = difference_of(self._bots[bot], body)
        if difference > _TOLERANCE or not label_is_right:
            return f"{self._bots[bot].id} says {body[:200]!r}"
        self._right[bot].add(body)
        return ""


def _misses(seen: Exchanges, subject: Subject, bots: Sequence[OwnBot]) -> list[bool]:
    """For each exchange, whether its bot was loaded during it."""
    loads: dict[str, list[float]] = defaultdict(list)
    for line in subject.log_lines():
        event = json.loads(line) if line.startswith(b"{") else {}
        if event.get("event") == "bot loaded":
            loads[event["bot"]].append(datetime.fromisoformat(event["at"]).timestamp())
    found = []
    for bot, due_s, done_s in zip(seen.subject, seen.due_s, seen.done_s, strict=True):
        of_bot = loads[bots[bot].id]
        at = bisect.bisect_left(of_bot, due_s - _CLOCK_S)
        found.append(at < len(of_bot) and of_bot[at] <= done_s + _CLOCK_S)
    return found


def _rows(seen: Exchanges, misses: Sequence[bool], capacity_per_s: float, rate_per_s: float) -> list[Row]:
    for problem in seen.problems:
        sys.stderr.write(f"{problem}\n")
    took_ms = (np.array(seen.done_s) - np.array(seen.due_s)) * 1e3
    is_miss = np.array(misses)
    answered = len(took_ms)
    rows = [
        Row("requests a second in a closed loop", capacity_per_s),
        Row("requests a second that came", rate_per_s, {"of what it can do": rate_per_s / capacity_per_s}),
        Row("requests", answered),
        Row("wrong answers", seen.wrong, bar="0", ok=not seen.wrong),
        Row("failed requests", seen.failed, bar="0", ok=not seen.failed),
        Row("hits, share", 1 - float(is_miss.mean())),
    ]
    for what, chosen in (("hits", took_ms[~is_miss]), ("misses", took_ms[is_miss])):
        if len(chosen):
            median_ms, slow_ms = np.percentile(chosen, [50, 99])
            rows.append(Row(f"{what}: p50, ms", float(median_ms), {"p99": float(slow_ms)}))
    return rows


def _wait_until_ready(subject: Subject) -> None:
    """Until it has read the whole catalog, and its memory is full."""
    deadline_s = time.monotonic() + _READY_S
    while ask_once(subject.port, _READY) is None:
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"the replica is not ready: {subject.said()}")
        time.sleep(0.2)


def _resident(subject: Subject) -> int:
    answer = ask_once(subject.port, _READY)
    return 0 if answer is None else int(orjson.loads(answer)["bots"].get("resident", 0))


if __name__ == "__main__":
    sys.exit(main())
