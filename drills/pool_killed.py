"""Drill *pool-killed*: all replicas of one pool are killed, again and again, for some seconds under load.

With two pools a shard nobody may notice. With one, only the pool's own bots may: they wait for it or are told 503 with
Retry-After, until it is back.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.report import Row
from botshard.sharding.ids import PoolName
from drills.load import Exchange, Span
from drills.place import REALTIME, GroupShape, Place, say, set_up, wait_until
from drills.verdict import none_row, p99_row, stream_rows

__all__ = ["kill_pools_in", "pool_killed"]

_BOTS = 24
_RATES_PER_S = {REALTIME: 120.0}
_DEAD_S = 2.0
"""How long a pool is kept from coming back."""
_BACK_S = 15.0
_CALM_S = 5.0


def pool_killed(folder: Path, *, rounds: int, seed: int) -> list[Row]:
    """`rounds` pools killed with two pools a shard, and as many with one."""
    shapes = {REALTIME: GroupShape(bots=_BOTS, copies=2)}
    with set_up(folder, shapes=shapes, bots={REALTIME: _BOTS}, rates_per_s=_RATES_PER_S, seed=seed) as place:
        return kill_pools_in(place, rounds=rounds, seed=seed, calm_s=_CALM_S)


def kill_pools_in(place: Place, *, rounds: int, seed: int, calm_s: float) -> list[Row]:
    """The same in a place that is there; `calm_s`: 0 leaves latency out."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    bots = len(place.bots[REALTIME])
    rows: list[Row] = []
    place.shape(REALTIME, GroupShape(bots=bots, copies=2, replicas_max=1))
    place.apply()
    place.wait_until_ready()
    calm = [place.load.watch(calm_s)] if calm_s else []
    spans = [_kill(place, chance, number, rounds)[0] for number in range(1, rounds + 1)]
    rows += stream_rows("pool-killed, k = 2", place.load, REALTIME, spans)
    if calm:
        rows.append(p99_row("pool-killed, k = 2", place.load, REALTIME, before=calm, during=spans, bar=False))
    place.shape(REALTIME, GroupShape(bots=bots // 2, copies=1, replicas_max=1))
    place.apply()
    place.wait_until_ready()
    kills = [_kill(place, chance, number, rounds) for number in range(1, rounds + 1)]
    for span, own in kills:
        others = [e for e in place.load.seen(REALTIME, span).exchanges if e.bot not in own]
        rows += _rows_of_one(place, span, own, others)
    return _summed(rows)


def _kill(place: Place, chance: random.Random, number: int, rounds: int) -> tuple[Span, set[str]]:
    """Keep one pool dead for a while; the time until it has been back for a moment, and whose pool it was."""
    name: PoolName = chance.choice(sorted(place.table.pools))
    bots = place.bots_of(name)
    began_s = time.monotonic()
    killed = 0
    while time.monotonic() < began_s + _DEAD_S:
        killed += place.kill("replica", name)
        time.sleep(chance.uniform(0.005, 0.15))  # some die while they start, some while they answer
    wait_until(
        lambda: place.stack.statuses()[name].ready_replicas,
        within_s=_BACK_S,
        what=f"pool {name} is back",
    )
    back_s = time.monotonic() - began_s - _DEAD_S
    place.load.watch(2.0)
    span = (began_s, time.monotonic())
    seen = place.load.seen(REALTIME, span)
    say(
        f"pool-killed: {number}/{rounds} {name} with {len(bots)} bots, {killed} replicas killed, "
        f"back after {back_s:.1f} s, {len(seen.failures)} of {len(seen.exchanges)} requests failed"
    )
    return span, bots


def _rows_of_one(place: Place, span: Span, bots: set[str], others: Sequence[Exchange]) -> list[Row]:
    own = [exchange for exchange in place.load.seen(REALTIME, span).exchanges if exchange.bot in bots]
    told = [e for e in own if e.status == 503 and e.retry_after]
    undue = [e for e in own if e.status != 200 and not (e.status == 503 and e.retry_after)]
    wrong = [e for e in (*own, *others) if e.is_wrong]
    for exchange in [*undue, *(e for e in others if e.problem)][:5]:
        say(f"pool-killed: {exchange.bot}: {exchange.status} {exchange.problem}, {exchange.took_s:.2f} s")
    name = "pool-killed, k = 1"
    return [
        Row(f"{name}: requests to its own bots", len(own)),
        Row(f"{name}: of them told 503 with Retry-After", len(told)),
        none_row(f"{name}: of them failed otherwise", len(undue)),
        Row(
            f"{name}: longest wait of those that were answered, s",
            max((e.took_s for e in own if e.status == 200), default=0.0),
        ),
        Row(f"{name}: requests to other bots", len(others)),
        none_row(f"{name}: of them failed", sum(1 for e in others if e.status != 200)),
        none_row(f"{name}: answered by other weights", len(wrong)),
    ]


def _summed(rows: list[Row]) -> list[Row]:
    """Rows of the same name as one: counts added, the longest of the waits."""
    summed: dict[str, Row] = {}
    for row in rows:
        before = summed.get(row.what)
        if before is None:
            summed[row.what] = row
            continue
        ours = max(before.ours, row.ours) if "longest" in row.what else before.ours + row.ours
        summed[row.what] = replace(row, ours=ours, ok=None if row.ok is None else bool(before.ok and row.ok))
    return list(summed.values())
