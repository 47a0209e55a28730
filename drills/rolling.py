"""Drill *rolling-restart*: `botshard roll` replaces all that runs, under load, again and again."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.report import Row
from drills.place import NON_REALTIME, REALTIME, GroupShape, Place, say, set_up
from drills.verdict import count_row, none_row, p99_row, stream_rows

__all__ = ["roll_in", "rolling_restart"]

_SHAPES = {REALTIME: GroupShape(bots=16), NON_REALTIME: GroupShape(bots=10)}
_BOTS = {REALTIME: 24, NON_REALTIME: 8}
_RATES_PER_S = {REALTIME: 100.0, NON_REALTIME: 20.0}
_CALM_S = 10.0


def rolling_restart(folder: Path, *, rounds: int, seed: int) -> list[Row]:
    """`rounds` rolls."""
    with set_up(folder, shapes=_SHAPES, bots=_BOTS, rates_per_s=_RATES_PER_S, seed=seed) as place:
        return roll_in(place, rounds=rounds, calm_s=_CALM_S)


def roll_in(place: Place, *, rounds: int, calm_s: float) -> list[Row]:
    """The same in a place that is there; `calm_s`: 0 leaves latency out."""
    done, kept, took_s = 0, 0, []
    spans = []
    calm = [place.load.watch(calm_s)] if calm_s else []
    for number in range(1, rounds + 1):
        before = _pids(place)
        began_s = time.monotonic()
        exit_code, printed = place.botshard("roll", str(place.stack.folder.path), "--wait-s", "120")
        took_s.append(time.monotonic() - began_s)
        if exit_code:
            say(f"rolling-restart: {printed}")
            break
        place.load.watch(1.0)
        spans.append((began_s, time.monotonic()))
        done += 1
        kept += len(before & _pids(place))
        failed = len(place.load.problems_since(began_s))
        say(f"rolling-restart: {number}/{rounds}, {len(before)} processes, {took_s[-1]:.1f} s, {failed} failed")
    rows = [
        count_row("rolling-restart: rolls done", done, rounds),
        none_row("rolling-restart: processes of before that are left", kept),
        Row("rolling-restart: a roll, longest, s", max(took_s)),
    ]
    for group in (REALTIME, NON_REALTIME):
        rows += stream_rows("rolling-restart", place.load, group, spans)
        if calm:
            rows.append(p99_row("rolling-restart", place.load, group, before=calm, during=spans, bar=False))
    return rows


def _pids(place: Place) -> set[int]:
    records = place.stack.records()
    return {int(record["pid"]) for kind in records.values() for record in kind} | {
        int(place.stack.stack()["keeperPid"])
    }
