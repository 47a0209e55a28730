"""Drills of the router: *router-reloaded*, *store-gone*, *table-flips*. No realtime request may fail in any of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import Row
from botshard.sharding.ids import Epoch
from botshard.sharding.routing import FamilyRoutes
from botshard.store.table import TableStore
from drills.load import Span
from drills.place import KEPT, NON_REALTIME, REALTIME, GroupShape, Place, say, set_up, wait_until
from drills.verdict import count_row, none_row, stream_rows

__all__ = [
    "flip_in",
    "reload_in",
    "router_reloaded",
    "store_gone",
    "store_gone_in",
    "table_flips",
]

_WORKERS = 2
_SHAPES = {REALTIME: GroupShape(bots=16, copies=2, kept_per_s=60.0), NON_REALTIME: GroupShape(bots=10)}
_BOTS = {REALTIME: 24, NON_REALTIME: 8}
_RATES_PER_S = {REALTIME: 60.0, NON_REALTIME: 20.0}
_RELOAD_S = 60.0
_AFTER_S = 1.0
_BACK_S = 20.0
"""Within which everybody has seen that the store is back, or a table."""
_FLIP_S = 1.0


@contextmanager
def _place(folder: Path, seed: int) -> Iterator[Place]:
    environ = {**os.environ, "ROUTER_WORKERS": str(_WORKERS)}
    with set_up(folder, shapes=_SHAPES, bots=_BOTS, rates_per_s=_RATES_PER_S, seed=seed, environ=environ) as place:
        yield place


# ── reloads ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def router_reloaded(folder: Path, *, rounds: int, seed: int) -> list[Row]:
    """`rounds` reloads of a router with two workers."""
    with _place(folder, seed) as place:
        return reload_in(place, rounds=rounds)


def reload_in(place: Place, *, rounds: int) -> list[Row]:
    """The same in a place that is there."""
    kept, took_s = 0, []
    began_s = time.monotonic()
    supervisors = set(place.pids("router"))
    for number in range(1, rounds + 1):
        before = _workers(place)
        since_s = time.monotonic()
        for pid in place.pids("router"):
            os.kill(pid, signal.SIGHUP)
        wait_until(partial(_replaced, place, before), within_s=_RELOAD_S, what="other workers serve")
        took_s.append(time.monotonic() - since_s)
        kept += len(before & _workers(place))
        if number % 5 == 1 or number == rounds:
            failed = len(place.load.problems_since(began_s))
            say(f"router-reloaded: {number}/{rounds}, {took_s[-1]:.1f} s, {failed} failed")
    place.load.watch(_AFTER_S)
    still = supervisors & set(place.pids("router"))
    return [
        Row("router-reloaded: reloads", len(took_s)),
        none_row("router-reloaded: workers of before that are left", kept),
        count_row("router-reloaded: supervisors that are still there", len(still), 1),
        Row("router-reloaded: a reload, longest, s", max(took_s)),
        *_answered(place, "router-reloaded", [(began_s, time.monotonic())]),
    ]


def _workers(place: Place) -> set[int]:
    return {int(said["pid"]) for said in _ask(place, "/admin/workers")["workers"]}


def _replaced(place: Place, before: set[int]) -> bool:
    """Whether as many serve as before, and none of them is of before."""
    serving = {int(said["pid"]) for said in _ask(place, "/admin/workers")["workers"] if not said["draining"]}
    return len(serving) == len(before) and not serving & before and _workers(place) == serving


def _ask(place: Place, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(place.stack.url + path, timeout=10) as answer:  # noqa: S310 - our own server
        found: dict[str, Any] = json.load(answer)
        return found


# ── the store ────────────────────────────────────────────────────────────────────────────────────────────────────────


def store_gone(folder: Path, *, gone_s: float, seed: int) -> list[Row]:
    """The store's folder is away for so long."""
    with _place(folder, seed) as place:
        return store_gone_in(place, gone_s=gone_s)


def store_gone_in(place: Place, *, gone_s: float) -> list[Row]:
    """The same in a place that is there."""
    began_s = time.monotonic()
    with _away(place):
        wait_until(lambda: "store" in _refused(place), within_s=_BACK_S, what="the router says that the store is away")
        gone = place.load.watch(gone_s)
    wait_until(lambda: "store" not in _refused(place), within_s=_BACK_S, what="the router says that it is back")
    place.load.watch(_AFTER_S)
    say(f"store-gone: {gone[1] - gone[0]:.0f} s, {len(place.load.problems_since(began_s))} failed")
    return [
        Row("store-gone: seconds without the store", gone[1] - gone[0]),
        *_answered(place, "store-gone", [(began_s, time.monotonic())]),
    ]


@contextmanager
def _away(place: Place) -> Iterator[None]:
    folder = place.stack.folder.store
    elsewhere = folder.with_name("store-elsewhere")
    folder.rename(elsewhere)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a program that starts meanwhile may have made an empty one
        elsewhere.rename(folder)


def _refused(place: Place) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _ask(place, "/admin/table")["problems"]
    return found


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def table_flips(folder: Path, *, flips: int, seed: int) -> list[Row]:
    """Every second another table is in force, and the one before again."""
    with _place(folder, seed) as place:
        return flip_in(place, flips=flips)


def flip_in(place: Place, *, flips: int) -> list[Row]:
    """The same in a place that is there; its controller hangs meanwhile, or it would put things right at once."""
    began_s = time.monotonic()
    tables = TableStore(place.store)
    with _stopped(place.pids("controller")):
        found = tables.read()
        if found is None:
            raise RuntimeError("there is no routing table")
        first, etag = found
        other = replace(first, families={name: _turned(routes) for name, routes in first.families.items()})
        moved = sum(
            a != b
            for name in first.families
            for a, b in zip(first.families[name].shards, other.families[name].shards, strict=True)
        )
        epoch = first.epoch
        for number in range(flips + flips % 2):
            epoch = Epoch(epoch + 1)
            etag = tables.publish(replace(first if number % 2 else other, epoch=epoch), previous_etag=etag)
            place.load.watch(_FLIP_S)
    wait_until(
        lambda: _ask(place, "/admin/table")["epoch"] >= epoch, within_s=_BACK_S, what="the last table is in force"
    )
    place.load.watch(_AFTER_S)
    say(f"table-flips: {flips} flips of {moved} shards, {len(place.load.problems_since(began_s))} failed")
    return [
        Row("table-flips: flips", flips),
        Row("table-flips: shards that move in each", moved, bar="> 0", ok=moved > 0),
        *_answered(place, "table-flips", [(began_s, time.monotonic())]),
    ]


def _turned(routes: FamilyRoutes) -> FamilyRoutes:
    """Every shard one pool further: as valid a placement, and nobody is told of it beforehand."""
    pools = sorted(routes.urls)
    next_of = {pool: pools[(at + 1) % len(pools)] for at, pool in enumerate(pools)}
    shards = tuple(tuple(next_of[pool] for pool in named) for named in routes.shards)
    return replace(routes, shards=shards, targets={}, lingering={})


def _moved(before: FamilyRoutes, after: FamilyRoutes) -> int:
    return sum(old != new for old, new in zip(before.shards, after.shards, strict=True))


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


# ── what the load has seen ───────────────────────────────────────────────────────────────────────────────────────────


def _answered(place: Place, drill: str, spans: Sequence[Span]) -> list[Row]:
    """Realtime without a failure; of the others, how many."""
    rows: list[Row] = []
    for stream in (REALTIME, KEPT, NON_REALTIME):
        found = stream_rows(drill, place.load, stream, spans)
        if not any(row.ours for row in found[:1]):
            continue
        rows += found if stream != NON_REALTIME else [replace(row, bar="", ok=None) for row in found]
    return rows
