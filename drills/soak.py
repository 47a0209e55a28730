"""Drill *soak*: load, evictions and version swaps for a long time; nothing grows.

A pool has room for a few of its bots, and its bots are asked in turn, so that nearly every request lets one bot leave
and loads another; meanwhile one bot after the other serves another of its versions. What every kind of process takes is
looked at again and again: a straight line through the last two thirds of it must not rise.
"""

from __future__ import annotations

import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.report import Row
from benchmarks.stack_costs import StackProcesses
from botshard.bots.publish import publish
from botshard.bots.rollouts import set_rollout
from drills.load import Span
from drills.place import NON_REALTIME, REALTIME, GroupShape, Place, say, set_up
from drills.verdict import stream_rows

__all__ = ["SHAPES", "growth", "soak", "soak_in"]

_MOST_OPEN = 32
"""A process keeps the memory of the most requests that it ever had in flight: where the machine falls behind, the load
must not pile up."""
_BOTS = {REALTIME: 40, NON_REALTIME: 40}
_RATES_PER_S = {REALTIME: 60.0, NON_REALTIME: 60.0}
SHAPES = {
    REALTIME: GroupShape(bots=60, memory="1Mi", replicas_max=1, most_open=_MOST_OPEN, versions=3),
    NON_REALTIME: GroupShape(bots=60, memory="1Mi", replicas_max=1, most_open=_MOST_OPEN, versions=3),
}
"""Room for four or five bots of a pool."""
_LOOK_S = 5.0
_SWAP_S = 1.0
_CALM_SHARE = 1 / 3
"""Of the time, at the beginning, in which everything finds its size."""
_MOST_MEMORY_MIB = 2.0
"""A process."""
_MOST_DESCRIPTORS = 4.0
_MOST_THREADS = 1.0


@dataclass(slots=True)
class _Series:
    """What a kind of process took, look after look."""

    processes: list[int] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    """Anonymous pages, whoever else has them: those that a replica shares with its zygote become its own as they are
    written to, and that is no growth."""
    descriptors: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)


def soak(folder: Path, *, minutes: float, seed: int) -> list[Row]:
    """So many minutes on a stack of its own."""
    with set_up(folder, shapes=SHAPES, bots=_BOTS, rates_per_s=_RATES_PER_S, seed=seed) as place:
        return soak_in(place, seconds=minutes * 60.0, look_s=_LOOK_S)


def soak_in(place: Place, *, seconds: float, look_s: float, is_brief: bool = False) -> list[Row]:
    """The same in a place that is there.

    In a brief one memory has not found its size and so has no bar, and descriptors are those of the requests in flight.
    """
    series: dict[str, _Series] = {}
    before = _loads(place)
    with _swapping(place) as swaps:
        began_s = time.monotonic()
        while (now_s := time.monotonic()) < began_s + seconds:
            _look(place, series)
            if len(next(iter(series.values())).memory_mib) % 12 == 1:
                sizes = ", ".join(f"{kind} {found.memory_mib[-1]:.1f}" for kind, found in series.items())
                say(f"soak: {(now_s - began_s) / 60:.1f} min, {swaps.done} swaps, MiB: {sizes}")
            time.sleep(look_s)
        span: Span = (began_s, time.monotonic())
    loads = _loads(place) - before
    rows = [
        Row("soak: minutes", seconds / 60),
        Row("soak: version swaps", swaps.done, bar="> 0", ok=swaps.done > 0),
        Row("soak: bots loaded", loads, bar="> 0", ok=loads > 0),
    ]
    for kind, found in series.items():
        rows += _rows(kind, found, is_brief=is_brief)
    for group in (REALTIME, NON_REALTIME):
        rows += stream_rows("soak", place.load, group, [span])
        p50_ms, p99_ms = (place.load.seen(group, span).percentile_ms(share) for share in (0.5, 0.99))
        rows.append(Row(f"soak: {group}, p50, ms", p50_ms, {"p99": p99_ms}))
    return rows


def _rows(kind: str, found: _Series, *, is_brief: bool) -> list[Row]:
    memory = statistics.median(found.memory_mib)
    allowed = _MOST_MEMORY_MIB * statistics.median(found.processes)
    rise_mib = growth(found.memory_mib)
    bars = [
        (f"soak: {kind}, descriptors, growth", found.descriptors, _MOST_OPEN * 2 if is_brief else _MOST_DESCRIPTORS),
        (f"soak: {kind}, threads, growth", found.threads, _MOST_THREADS),
    ]
    return [
        Row(
            f"soak: {kind}, memory, growth, MiB",
            rise_mib,
            {"median": memory},
            bar="" if is_brief else f"< {allowed:.2g}",
            ok=None if is_brief else rise_mib < allowed,
        ),
        *(
            Row(what, rise := growth(values), {"median": statistics.median(values)}, bar=f"< {most:g}", ok=rise < most)
            for what, values, most in bars
        ),
    ]


def growth(values: Sequence[float]) -> float:
    """What a straight line through the last two thirds rises."""
    tail = values[int(len(values) * _CALM_SHARE) :]
    if len(tail) < 2:
        return 0.0
    slope = statistics.linear_regression(range(len(tail)), tail).slope
    return slope * (len(tail) - 1)


def _look(place: Place, series: dict[str, _Series]) -> None:
    for kind, processes in StackProcesses.of(place.stack).kinds.items():
        found = series.setdefault(kind, _Series())
        try:
            memory = sum(_anonymous_kib(process.pid) for process in processes)
            descriptors = sum(process.num_fds() for process in processes)
            threads = sum(process.num_threads() for process in processes)
        except (psutil.NoSuchProcess, FileNotFoundError):
            continue  # it was replaced at this moment
        found.memory_mib.append(memory / 1024)
        found.processes.append(len(processes))
        found.descriptors.append(descriptors)
        found.threads.append(threads)


def _anonymous_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon:")).split()[1])


def _loads(place: Place) -> float:
    """Loads of bots so far, by the replicas' metrics (one replica a pool)."""
    total = 0.0
    for pool in place.table.pools.values():
        with urllib.request.urlopen(f"{pool.url}/metrics", timeout=5) as answer:  # noqa: S310 - our own server
            lines = answer.read().decode().splitlines()
        total += sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("botshard_loads_total"))
    return total


@dataclass(slots=True)
class _Swaps:
    done: int = 0


@contextmanager
def _swapping(place: Place) -> Iterator[_Swaps]:
    """One bot after the other serves another of its versions while this context lasts.

    All of them are published before: the catalog keeps each for good, and so does whoever holds the catalog.
    """
    bots = [bot for of_group in place.bots.values() for bot in of_group]
    swaps, over = _Swaps(), threading.Event()
    for number in range(1, min(len(bot.versions) for bot in bots)):
        publish(place.store, [bot.versions[number] for bot in bots], now_s=int(time.time()))

    def swap() -> None:
        while not over.wait(_SWAP_S):
            bot = bots[swaps.done % len(bots)]
            set_rollout(place.store, bot.id, version=1 + swaps.done // len(bots) % len(bot.versions))
            swaps.done += 1

    with ThreadPoolExecutor(1, "swap") as thread:
        swapping = thread.submit(swap)
        try:
            yield swaps
        finally:
            over.set()
        swapping.result()
