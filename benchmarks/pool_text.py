"""A text bot over REST, held against its processing and model alone in a loop."""

from __future__ import annotations

import os
import statistics

from benchmarks.pool_bots import Published, text_requests
from benchmarks.pool_loops import looping
from benchmarks.pool_options import Options
from benchmarks.pool_rest import replica
from benchmarks.pool_subjects import measure, running
from benchmarks.report import Row

__all__ = ["text_rows"]

_IN_FLIGHT = 64
_LEAST_RATIO = 0.7


def text_rows(published: Published, options: Options) -> list[Row]:
    """Rounds of the server and of the loop in turn, on the same core."""
    ours = replica(published, text_requests("text"))
    many, alone, loop_us = [], [], []
    with running([ours]), looping("text", published.folder, core=min(os.sched_getaffinity(0))) as loop:
        for _ in range(options.rounds):
            loop_us.append(loop.row_us(options.seconds))
            many.append(measure([ours], rounds=1, seconds=options.seconds, connections=_IN_FLIGHT)[ours.name])
            alone.append(measure([ours], rounds=1, seconds=options.seconds / 2, connections=1)[ours.name])
    per_s = statistics.median(figures.median("per_s") for figures in many)
    cpu_us = statistics.median(figures.median("cpu_us") for figures in many)
    own_us = statistics.median(loop_us)
    what = f"text bot, {_IN_FLIGHT} in flight"
    loop_name = "processing and model alone"
    # By CPU: the loop has the core to itself only where nobody else uses the machine.
    ratio = own_us / cpu_us
    return [
        Row(f"{what}: requests a second", per_s),
        Row(
            f"{what}: requests a second of CPU",
            1e6 / cpu_us,
            {loop_name: 1e6 / own_us},
            ratio,
            f"≥ {_LEAST_RATIO:g} x",
            ok=ratio >= _LEAST_RATIO,
        ),
        Row(f"{what}: CPU a request, µs", cpu_us, {loop_name: own_us}, cpu_us / own_us),
        Row("text bot, one in flight: p50, µs", statistics.median(figures.median("p50_us") for figures in alone)),
    ]
