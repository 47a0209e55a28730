"""Many bots of one shape, one row each: in flight together, one at a time, and their models alone."""

from __future__ import annotations

import contextlib
import math
import os
import statistics

from benchmarks.http_load import Load, run_clients
from benchmarks.pool_bots import Published, mlp_requests
from benchmarks.pool_loops import looping
from benchmarks.pool_options import Options
from benchmarks.pool_rest import replica
from benchmarks.pool_subjects import Subject, on_core, running
from benchmarks.report import Row

__all__ = ["BOTS", "many_rows"]

BOTS = 32
_TIMES_ONE = 3.0
_LOOPS = {
    "together": "ours in one batch",
    "each": "ours, one bot at a time",
    "torch": "PyTorch, one at a time",
    "bmm": "stacked bmm alone",
}


def many_rows(published: Published, options: Options) -> list[Row]:
    """Rounds of both ways of asking and of each loop in turn, on the same core."""
    by_bot = [mlp_requests(f"head-{number:02}") for number in range(BOTS)]
    # One at a time: every bot in turn over one connection, each once the one before has answered.
    in_turn = [[requests[0] for requests in by_bot]]
    ours = replica(published, in_turn[0])
    per_s: dict[str, list[float]] = {"together": [], "one": []}
    cpu_us: dict[str, list[float]] = {"together": [], "one": []}
    loops_us: dict[str, list[float]] = {kind: [] for kind in _LOOPS}
    core = min(os.sched_getaffinity(0))
    with running([ours]), contextlib.ExitStack() as stack:
        loops = {kind: stack.enter_context(looping(kind, published.folder, core=core)) for kind in _LOOPS}
        for _ in range(options.rounds):
            for kind, loop in loops.items():
                loops_us[kind].append(loop.row_us(options.seconds / 2))
            for how, series in (("together", by_bot), ("one", in_turn)):
                before_s = ours.cpu_s()
                load = _load(ours, series, options.seconds)
                cpu_us[how].append((ours.cpu_s() - before_s) / load.answered * 1e6)
                per_s[how].append(load.per_s)
    together, one = (statistics.median(per_s[how]) for how in ("together", "one"))
    together_us, one_us = (statistics.median(cpu_us[how]) for how in ("together", "one"))
    alone = {_LOOPS[kind]: statistics.median(found) for kind, found in loops_us.items()}
    if math.isnan(alone[_LOOPS["together"]]):
        del alone[_LOOPS["together"]]  # nothing runs them in one batch
    mine = alone.pop(next(iter(alone)))
    ratio = together / one
    what = f"{BOTS} bots, one row each"
    return [
        Row(
            f"{what}, in flight together: requests a second",
            together,
            {"one bot at a time": one},
            ratio,
            f"≥ {_TIMES_ONE:g} x",
            ok=ratio >= _TIMES_ONE,
        ),
        Row(
            f"{what}, in flight together: CPU a request, µs",
            together_us,
            {"one bot at a time": one_us},
            together_us / one_us,
        ),
        Row(f"{what}, models alone: CPU a row, µs", mine, alone, mine / alone[_LOOPS["bmm"]]),
    ]


def _load(subject: Subject, series: list[list[bytes]], seconds: float) -> Load:
    with on_core(max(os.sched_getaffinity(0))):
        load = run_clients(subject.port, series, seconds=seconds)
    if load.failed or not load.answered:
        raise RuntimeError(f"{load.failed} of {load.answered} requests to {BOTS} bots failed; nothing was measured")
    return load
