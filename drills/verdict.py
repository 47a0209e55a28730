"""From what the load has seen to the rows of a drill's table."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.report import Row
from drills.load import Load
from drills.place import say

__all__ = ["count_row", "none_row", "stream_rows"]

_MOST_RATIO = 2.0


def count_row(what: str, count: int, wanted: int, *, peers: Mapping[str, float] | None = None) -> Row:
    """Something that must have happened so often."""
    return Row(what, count, peers or {}, bar=f"= {wanted}", ok=count == wanted)


def none_row(what: str, count: int) -> Row:
    """Something that must not have happened."""
    return count_row(what, count, 0)


def stream_rows(
    drill: str, load: Load, stream: str, *, before: tuple[float, float] | None, during: tuple[float, float]
) -> list[Row]:
    """Requests, failures, wrong answers and latency of a stream; the latency has a bar where `before` is given."""
    seen = load.seen(stream, *during)
    for exchange in [*seen.failures, *seen.wrong][:10]:
        say(f"{drill}: {exchange.bot}: {exchange.status} {exchange.problem}, {exchange.took_s:.2f} s")
    rows = [
        Row(f"{drill}: {stream}, requests", len(seen.exchanges), ok=bool(seen.exchanges) or None),
        none_row(f"{drill}: {stream}, failed", len(seen.failures)),
        none_row(f"{drill}: {stream}, answered by other weights", len(seen.wrong)),
        Row(f"{drill}: {stream}, p50, ms", seen.percentile_ms(0.5)),
    ]
    p99 = seen.percentile_ms(0.99)
    if before is None:
        return [*rows, Row(f"{drill}: {stream}, p99, ms", p99)]
    calm = load.seen(stream, *before)
    ratio = p99 / calm.percentile_ms(0.99)
    peers = {"before": calm.percentile_ms(0.99)}
    bar = f"≤ {_MOST_RATIO:g} x"
    return [*rows, Row(f"{drill}: {stream}, p99, ms", p99, peers, ratio, bar, ratio <= _MOST_RATIO)]
