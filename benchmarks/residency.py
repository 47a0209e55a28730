"""How often a bot is in memory when it is asked for: `python -m benchmarks.residency [--json FILE] [--traces FOLDER]`.

2,000 bots of one size with room for 400, asked by Zipf's law; the first quarter of each trace warms up and is not
counted. With sweeps somebody asks every bot once, every 20,000 requests: what is counted are the others' requests.
With shifts another 400 bots are the popular ones every 60,000 requests. Peers run on the same traces; Belady's knows
the future and is the bound of what can be had. `--traces` (or BENCHMARK_TRACES) names a folder with recorded ones: text
files, one bot a line, in the order of the requests.
"""

from __future__ import annotations

import bisect
import os
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from benchmarks.caches import PEERS, hits_of_us
from benchmarks.report import Row, parser, publish

_BOTS = 2_000
_ROOM = 400
_REQUESTS = 240_000
_WARM_UP_SHARE = 0.25
_ROOM_SHARE = 0.2
"""Of the bots of a recorded trace."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests for bots, in their order."""

    bots: list[int]
    swept: frozenset[int] = frozenset()
    """Positions of requests that are a sweep's."""


def zipf_trace(exponent: float, *, sweep_every: int = 0, shift_every: int = 0) -> Trace:
    """Requests by Zipf's law; the same for the same arguments."""
    draw = random.Random(7)  # noqa: S311 - a trace, not a secret
    weights = list(accumulate((rank + 1) ** -exponent for rank in range(_BOTS)))
    by_rank = list(range(_BOTS))
    draw.shuffle(by_rank)
    bots: list[int] = []
    swept: set[int] = set()
    for number in range(_REQUESTS):
        if shift_every and number and number % shift_every == 0:
            draw.shuffle(by_rank)
        if sweep_every and number % sweep_every == sweep_every // 2:
            swept.update(range(len(bots), len(bots) + _BOTS))
            bots += range(_BOTS)
        bots.append(by_rank[bisect.bisect(weights, draw.random() * weights[-1])])
    return Trace(bots, frozenset(swept))


def recorded_traces(folder: Path) -> Iterable[tuple[str, Trace]]:
    """Each text file in the folder."""
    for path in sorted(folder.glob("*.txt")):
        numbers: dict[str, int] = {}
        lines = path.read_text("utf-8").split()
        yield path.stem, Trace([numbers.setdefault(line, len(numbers)) for line in lines])


def _ratio(hits: list[bool], trace: Trace) -> float:
    counted = [hits[at] for at in range(int(len(hits) * _WARM_UP_SHARE), len(hits)) if at not in trace.swept]
    return sum(counted) / len(counted)


def _row(what: str, trace: Trace, bar: float | None, room: int = _ROOM) -> Row:
    ours = _ratio(hits_of_us(trace.bots, room), trace)
    peers = {name: _ratio(peer(trace.bots, room), trace) for name, peer in PEERS.items()}
    if bar is None:
        return Row(what, ours, peers, ours / peers["LRU"])
    return Row(what, ours, peers, ours / peers["LRU"], f"≥ {bar}", ok=ours >= bar)


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("How often a bot is in memory when it is asked for")
    options.add_argument("--traces", type=Path, metavar="FOLDER", default=os.environ.get("BENCHMARK_TRACES"))
    arguments = options.parse_args()
    rows = []
    for exponent, bar in ((1.0, 0.79), (0.8, 0.645)):
        zipf = f"hit ratio, Zipf {exponent}"
        rows += [
            _row(zipf, zipf_trace(exponent), bar),
            _row(f"{zipf}, sweeps", zipf_trace(exponent, sweep_every=20_000), bar),
            _row(f"{zipf}, shifts", zipf_trace(exponent, shift_every=60_000), None),
        ]
    if arguments.traces is not None:
        rows += [
            _row(f"hit ratio, {name}", trace, None, max(1, int(len(set(trace.bots)) * _ROOM_SHARE)))
            for name, trace in recorded_traces(Path(arguments.traces))
        ]
    return publish(rows, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
