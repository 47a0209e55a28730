"""Drills *reshard* and *controller-killed*: many re-shards in a row, each waited for, under load."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.report import Row
from drills.changes import random_change
from drills.load import Span
from drills.place import NON_REALTIME, REALTIME, GroupShape, Place, say, set_up
from drills.verdict import count_row, p99_row, spans_p99_row, stream_rows

__all__ = ["controller_killed", "reshard", "reshard_in"]

_SHAPES = {REALTIME: GroupShape(bots=36), NON_REALTIME: GroupShape(bots=10)}
_BOTS = {REALTIME: 48, NON_REALTIME: 12}
_RATES_PER_S = {REALTIME: 100.0, NON_REALTIME: 20.0}
_ROUNDS_BETWEEN = 10
"""A calm while is looked at before each so many re-shards: what else the machine does may change in minutes."""
_AFTER_S = 1.0
_IDLE_CHANGES = 5
"""How many changes in a row may change nothing before a drill gives up."""
_FIRST_S = 3.0
"""How long a re-shard may be expected to take before there was any."""


def reshard(folder: Path, *, rounds: int, seed: int, calm_s: float = 6.0) -> list[Row]:
    """`rounds` random re-shards under load."""
    return _drill("reshard", folder, rounds=rounds, seed=seed, calm_s=calm_s, kills=False)


def controller_killed(folder: Path, *, rounds: int, seed: int, calm_s: float = 6.0) -> list[Row]:
    """The same; in each of them the controller is killed at a random moment."""
    return _drill("controller-killed", folder, rounds=rounds, seed=seed + 1, calm_s=calm_s, kills=True)


def _drill(name: str, folder: Path, *, rounds: int, seed: int, calm_s: float, kills: bool) -> list[Row]:
    with set_up(folder, shapes=_SHAPES, bots=_BOTS, rates_per_s=_RATES_PER_S, seed=seed) as place:
        return reshard_in(place, name, rounds=rounds, seed=seed, calm_s=calm_s, kills=kills)


def reshard_in(place: Place, name: str, *, rounds: int, seed: int, calm_s: float, kills: bool) -> list[Row]:
    """`rounds` random re-shards of a place that is there; `calm_s`: 0 leaves latency out."""
    calm: list[Span] = []
    during: list[Span] = []
    series = _Series(name, place, random.Random(seed), rounds, kills=kills)  # noqa: S311 - no secret
    while series.goes_on:
        if calm_s:
            calm.append(place.load.watch(calm_s))
        began_s = time.monotonic()
        series.run(_ROUNDS_BETWEEN)
        during.append((began_s, time.monotonic()))
    place.load.watch(_AFTER_S)
    rows = [
        count_row(f"{name}: re-shards settled", series.settled, rounds, peers=dict(sorted(series.kinds.items()))),
        Row(f"{name}: a re-shard, median, s", statistics.median(series.took_s or [float("nan")])),
    ]
    if kills:
        rows.append(count_row(f"{name}: controllers killed in them", series.killed, rounds))
    for group in (REALTIME, NON_REALTIME):
        rows += stream_rows(name, place.load, group, during)
        if calm:
            rows.append(p99_row(name, place.load, group, before=calm, during=during, bar=group == REALTIME))
            rows.append(spans_p99_row(name, place.load, group, before=calm, during=during))
    return rows


class _Series:
    def __init__(self, name: str, place: Place, chance: random.Random, rounds: int, *, kills: bool) -> None:
        self._name = name
        self._place = place
        self._chance = chance
        self._rounds = rounds
        self._kills = kills
        self._failed = False
        self._idle = 0
        self.kinds: Counter[str] = Counter()
        self.took_s: list[float] = []
        self.settled = 0
        self.killed = 0

    @property
    def goes_on(self) -> bool:
        """Whether there are re-shards to be made."""
        return self.settled < self._rounds and not self._failed and self._idle < _IDLE_CHANGES

    def run(self, rounds: int) -> None:
        """As many re-shards at most; ends early where one does not settle."""
        until = self.settled + rounds
        while self.goes_on and self.settled < until:
            self._round()

    def _round(self) -> None:
        epoch = self._place.table.epoch
        change = random_change(self._place, self._chance)
        began_s = time.monotonic()
        killer = _Killer(self._place, self._chance.uniform(0.0, self._typical_s)) if self._kills else None
        try:
            change.make()
        except RuntimeError as error:
            self._failed = True
            say(f"{self._name}: {change.kind} {change.what} has not settled: {error}")
            return
        finally:
            killed = killer is not None and killer.wait()
        if self._place.table.epoch == epoch:
            self._idle += 1
            return
        self._idle = 0
        self.settled += 1
        self.killed += killed
        self.took_s.append(time.monotonic() - began_s)
        self.kinds[change.kind] += 1
        problems = self._place.load.problems_since(began_s)
        failed = f", {len(problems)} FAILED" if problems else ""
        say(f"{self._name}: {self.settled}/{self._rounds} {change.kind} {change.what}, {self.took_s[-1]:.1f} s{failed}")
        for exchange in problems[:3]:
            say(f"  {exchange.bot}: {exchange.status} {exchange.problem}")

    @property
    def _typical_s(self) -> float:
        return statistics.median(self.took_s) if self.took_s else _FIRST_S


class _Killer:
    """Kills the controller once, some time after now."""

    def __init__(self, place: Place, delay_s: float) -> None:
        self._place = place
        self._delay_s = delay_s
        self._has_killed = False
        self._thread = threading.Thread(target=self._kill)
        self._thread.start()

    def wait(self) -> bool:
        """Whether it was killed, once that is known."""
        self._thread.join()
        return self._has_killed

    def _kill(self) -> None:
        time.sleep(self._delay_s)
        until_s = time.monotonic() + 10.0
        while not self._has_killed and time.monotonic() < until_s:
            self._has_killed = self._place.kill("controller") > 0
            time.sleep(0.02)
