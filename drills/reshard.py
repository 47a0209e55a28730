"""Drills *reshard* and *controller-killed*: many re-shards in a row, each waited for, under load."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.report import Row
from drills.changes import random_change
from drills.place import NON_REALTIME, REALTIME, GroupShape, Place, say, set_up
from drills.verdict import count_row, stream_rows

__all__ = ["controller_killed", "reshard"]

_SHAPES = {REALTIME: GroupShape(bots=36), NON_REALTIME: GroupShape(bots=10)}
_BOTS = {REALTIME: 48, NON_REALTIME: 12}
_RATES_PER_S = {REALTIME: 100.0, NON_REALTIME: 20.0}
_IDLE_CHANGES = 5
"""How many changes in a row may change nothing before a drill gives up."""


def reshard(folder: Path, *, rounds: int, seed: int, before_s: float = 30.0) -> list[Row]:
    """`rounds` random re-shards under load."""
    return _drill("reshard", folder, rounds=rounds, seed=seed, before_s=before_s, kills=False)


def controller_killed(folder: Path, *, rounds: int, seed: int, before_s: float = 30.0) -> list[Row]:
    """The same; in each of them the controller is killed at a random moment."""
    return _drill("controller-killed", folder, rounds=rounds, seed=seed + 1, before_s=before_s, kills=True)


def _drill(name: str, folder: Path, *, rounds: int, seed: int, before_s: float, kills: bool) -> list[Row]:
    chance = random.Random(seed)  # noqa: S311 - no secret
    with set_up(folder, shapes=_SHAPES, bots=_BOTS, rates_per_s=_RATES_PER_S, seed=seed) as place:
        before = place.load.watch(before_s)
        say(f"{name}: before: p99 {place.load.seen(REALTIME, *before).percentile_ms(0.99):.1f} ms")
        began_s = time.monotonic()
        series = _Series(name, place, chance, kills=kills)
        series.run(rounds)
        place.load.watch(1.0)
        until_s = time.monotonic()
    rows = [
        count_row(f"{name}: re-shards settled", series.settled, rounds, peers=dict(sorted(series.kinds.items()))),
        Row(f"{name}: a re-shard, median, s", sorted(series.took_s)[len(series.took_s) // 2] if series.took_s else 0.0),
    ]
    if kills:
        rows.append(count_row(f"{name}: controllers killed", series.killed, rounds))
    rows += stream_rows(name, place.load, REALTIME, before=before, during=(began_s, until_s))
    rows += stream_rows(name, place.load, NON_REALTIME, before=None, during=(began_s, until_s))
    return rows


class _Series:
    def __init__(self, name: str, place: Place, chance: random.Random, *, kills: bool) -> None:
        self._name = name
        self._place = place
        self._chance = chance
        self._kills = kills
        self.kinds: Counter[str] = Counter()
        self.took_s: list[float] = []
        self.settled = 0
        self.killed = 0

    def run(self, rounds: int) -> None:
        """As many re-shards; ends early where one does not settle."""
        idle = 0
        while self.settled < rounds and idle < _IDLE_CHANGES:
            epoch = self._place.table.epoch
            change = random_change(self._place, self._chance)
            since_s = time.monotonic()
            killer = self._start_killer() if self._kills else None
            try:
                change.make()
            except RuntimeError as error:
                say(f"{self._name}: {change.kind} {change.what} has not settled: {error}")
                return
            finally:
                if killer is not None:
                    killer.join()
            took_s = time.monotonic() - since_s
            if self._place.table.epoch == epoch:
                idle += 1
                continue
            idle = 0
            self.settled += 1
            self.took_s.append(took_s)
            self.kinds[change.kind] += 1
            self._tell(f"{self.settled}/{rounds} {change.kind} {change.what}, {took_s:.1f} s", since_s)

    def _start_killer(self) -> threading.Thread:
        """Kills the controller once, at any moment of a re-shard that lasts as long as those before."""
        typical_s = sorted(self.took_s)[len(self.took_s) // 2] if self.took_s else 3.0
        delay_s = self._chance.uniform(0.0, typical_s)

        def kill() -> None:
            time.sleep(delay_s)
            deadline_s = time.monotonic() + 10
            while not self._place.kill("controller") and time.monotonic() < deadline_s:
                time.sleep(0.02)
            self.killed += 1

        killer = threading.Thread(target=kill)
        killer.start()
        return killer

    def _tell(self, line: str, since_s: float) -> None:
        problems = self._place.load.problems_since(since_s)
        say(f"{self._name}: {line}" + (f", {len(problems)} FAILED" if problems else ""))
        for exchange in problems[:3]:
            say(f"  {exchange.bot}: {exchange.status} {exchange.problem}")
