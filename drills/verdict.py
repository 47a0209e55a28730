"""From what the load has seen to the rows of a drill's table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.report import Row
from drills.load import Load, Span
from drills.place import say

__all__ = ["count_row", "none_row", "p99_row", "spans_p99_row", "stream_rows"]

_MOST_RATIO = 2.0


def count_row(what: str, count: int, wanted: int, *, peers: Mapping[str, float] | None = None) -> Row:
    """Something that must have happened so often."""
    return Row(what, count, peers or {}, bar=f"= {wanted}", ok=count == wanted)


def none_row(what: str, count: int) -> Row:
    """Something that must not have happened."""
    return count_row(what, count, 0)


def stream_rows(drill: str, load: Load, stream: str, during: Sequence[Span]) -> list[Row]:
    """How many requests a stream has made, and that each was answered, by that bot's own weights."""
    seen = load.seen(stream, *during)
    for exchange in [*seen.failures, *seen.wrong][:10]:
        say(f"{drill}: {exchange.bot}: {exchange.status} {exchange.problem}, {exchange.took_s:.2f} s")
    return [
        Row(f"{drill}: {stream}, requests", len(seen.exchanges), bar="> 0", ok=bool(seen.exchanges)),
        none_row(f"{drill}: {stream}, failed", len(seen.failures)),
        none_row(f"{drill}: {stream}, answered by other weights", len(seen.wrong)),
    ]


def p99_row(
    drill: str, load: Load, stream: str, *, before: Sequence[Span], during: Sequence[Span], bar: bool = True
) -> Row:
    """Latency that 99 of 100 requests stayed under, against that of the same load while nothing happened."""
    calm_ms = load.seen(stream, *before).percentile_ms(0.99)
    p99_ms = load.seen(stream, *during).percentile_ms(0.99)
    what = f"{drill}: {stream}, p99, ms"
    ratio = p99_ms / calm_ms
    if not bar:
        return Row(what, p99_ms, {"calm": calm_ms}, ratio)
    return Row(what, p99_ms, {"calm": calm_ms}, ratio, f"≤ {_MOST_RATIO:g} x", ratio <= _MOST_RATIO)


def spans_p99_row(drill: str, load: Load, stream: str, *, before: Sequence[Span], during: Sequence[Span]) -> Row:
    """The median of what 99 of 100 requests stayed under in each span: a burst of other work moves it less."""
    calm_ms = statistics.median(load.seen(stream, span).percentile_ms(0.99) for span in before)
    p99_ms = statistics.median(load.seen(stream, span).percentile_ms(0.99) for span in during)
    return Row(f"{drill}: {stream}, p99 of each while, median, ms", p99_ms, {"calm": calm_ms}, p99_ms / calm_ms)
