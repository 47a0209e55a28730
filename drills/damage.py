"""Drill *damage*: documents of the store are damaged, controllers doubled, their clock set, while the stack serves.

The last good of everything stays in force, nobody who asks a bot notices, and each program says what is wrong once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import Row
from botshard.sharding.codec import encode_table
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.hashing import bot_hash
from botshard.sharding.ids import BotId, Epoch
from botshard.sharding.routing import FamilyRoutes
from botshard.store.base import ObjectStore
from botshard.store.intents import change_intents
from botshard.store.layout import TABLE_CURRENT, catalog_key_of
from botshard.store.table import TableStore
from drills.changes import random_change
from drills.load import Span
from drills.place import NON_REALTIME, REALTIME, GroupShape, Place, say, set_up, wait_until
from drills.verdict import count_row, none_row

__all__ = ["damage"]

_SHAPES = {REALTIME: GroupShape(bots=24), NON_REALTIME: GroupShape(bots=10)}
_BOTS = {REALTIME: 24, NON_REALTIME: 8}
_RATES_PER_S = {REALTIME: 100.0, NON_REALTIME: 20.0}
_SEEN_S = 40.0
"""Within which damage is seen, and its end: who follows a catalog lists it at least every 15 s."""
_OTHER_LOG = "other-controller.txt"
_AFTER_S = 3.0
"""How long to look on, once something has happened."""


def damage(folder: Path, *, rounds: int, seed: int) -> list[Row]:
    """Each kind of damage once; `rounds` re-shards with two controllers, and as many with a clock that jumps."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    with set_up(folder, shapes=_SHAPES, bots=_BOTS, rates_per_s=_RATES_PER_S, seed=seed) as place:
        return [
            *_told("a malformed table", place, _malformed_table),
            *_told("a table of a past epoch", place, _past_table),
            *_told("a truncated catalog object", place, _truncated_catalog),
            *_resharded("two controllers", place, chance, rounds, "shard_controller", is_alone=False),
            *_resharded("a clock that jumps", place, chance, rounds, "drills.jumping_clock", is_alone=True),
        ]


# ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _malformed_table(place: Place) -> None:
    data = place.store.get(TABLE_CURRENT).data
    place.store.put(TABLE_CURRENT, data[: len(data) // 2])
    wait_until(lambda: _epoch(place.store), within_s=_SEEN_S, what="a table that can be read")


def _past_table(place: Place) -> None:
    """Well-formed, two epochs old, and everything in it is elsewhere."""
    table = place.table
    families = {name: _elsewhere(routes) for name, routes in table.families.items()}
    place.store.put(TABLE_CURRENT, encode_table(replace(table, epoch=Epoch(table.epoch - 2), families=families)))
    wait_until(lambda: _epoch(place.store) > table.epoch, within_s=_SEEN_S, what="a table of a later epoch")


def _elsewhere(routes: FamilyRoutes) -> FamilyRoutes:
    """All shards in the pool that has the fewest."""
    least = min(sorted(routes.urls), key=lambda name: sum(name in pools for pools in routes.shards))
    return replace(routes, shards=tuple((least,) for _ in routes.shards), targets={}, lingering={})


def _truncated_catalog(place: Place) -> None:
    """While it lasts, a pool whose bot is in it is drained: a new replica that cannot know the bot must not get it."""
    bot = BotId(place.bots[REALTIME][0].id)
    key = catalog_key_of(bot)
    good = place.store.get(key).data
    mark = _log_size(place)
    place.store.put(key, good[: len(good) // 2])
    wait_until(lambda: _lines(place, mark, "controller", "refused"), within_s=_SEEN_S, what="the controller says so")
    table = place.table
    pool = table.lookup(place.family(REALTIME).id, bot_hash(bot))[0].name
    change_intents(place.store, lambda intents: replace(intents, drain=(*intents.drain, pool)))
    wait_until(lambda: place.table.epoch > table.epoch, within_s=_SEEN_S, what="the drain has begun")
    place.load.watch(_AFTER_S)
    place.store.put(key, good)
    wait_until(
        lambda: _lines(place, mark, "controller", "accepted again"), within_s=_SEEN_S, what="it is accepted again"
    )
    wait_until(lambda: pool not in place.table.pools, within_s=_SEEN_S, what=f"{pool} is drained")


def _epoch(store: ObjectStore) -> int:
    """Of the table that is published; 0 where it cannot be read."""
    try:
        found = TableStore(store).read()
    except InvalidDocumentError:
        return 0
    return found[0].epoch if found else 0


def _told(what: str, place: Place, harm: Callable[[Place], None]) -> Iterator[Row]:
    mark = _log_size(place)
    began_s = time.monotonic()
    harm(place)
    took_s = time.monotonic() - began_s
    place.load.watch(_AFTER_S)
    span = (began_s, time.monotonic())
    lines = {
        "controller": len(_lines(place, mark, "controller", "refused")),
        "router": len(_lines(place, mark, "router", "refused")),
    }
    say(f"damage: {what}: over after {took_s:.1f} s; lines: {lines}")
    yield Row(f"damage, {what}: over after, s", took_s)
    yield count_row(f"damage, {what}: lines of the controller", lines["controller"], 1)
    most = Row(f"damage, {what}: lines of the router", lines["router"], bar="≤ 1", ok=lines["router"] <= 1)
    yield most
    yield from _nobody_noticed(what, place, span)


# ── controllers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _resharded(
    what: str, place: Place, chance: random.Random, rounds: int, module: str, *, is_alone: bool
) -> Iterator[Row]:
    """Random re-shards with another controller beside the stack's own, or in its place."""
    began_s = time.monotonic()
    published = _published(place)
    settled = 0
    with _another_controller(place, module), _stopped(place) if is_alone else _nothing():
        for number in range(1, rounds + 1):
            change = random_change(place, chance)
            change.make()
            settled += 1
            say(f"damage: {what}: {number}/{rounds} {change.kind} {change.what}")
        place.load.watch(_AFTER_S)
    yield count_row(f"damage, {what}: re-shards settled", settled, rounds)
    yield Row(f"damage, {what}: tables published by the other one", _published(place) - published)
    yield from _nobody_noticed(what, place, (began_s, time.monotonic()))


@contextmanager
def _another_controller(place: Place, module: str) -> Iterator[None]:
    environ = {
        **place.stack.environ,
        "SHARDS_STORE_URL": place.stack.store_url,
        "SHARDS_GROUPS": str(place.folder / "groups.yaml"),
        "SHARDS_HOME": place.stack.folder.home.as_uri(),
        "SHARDS_LOG_FORMAT": "json",
    }
    with (place.folder / _OTHER_LOG).open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", module], env=environ, stdout=log, stderr=log)
        try:
            yield
        finally:
            ended = process.poll()
            process.terminate()
            process.wait(30)
        if ended is not None:
            raise RuntimeError(f"the other controller ended by itself with {ended}: see {_OTHER_LOG}")


@contextmanager
def _stopped(place: Place) -> Iterator[None]:
    """The stack's own controller hangs."""
    pids = place.pids("controller")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


# ── what is seen of it ───────────────────────────────────────────────────────────────────────────────────────────────


def _nobody_noticed(what: str, place: Place, span: Span) -> Iterator[Row]:
    seen = [place.load.seen(group, span) for group in _RATES_PER_S]
    failures = [exchange for of_group in seen for exchange in of_group.failures]
    wrong = [exchange for of_group in seen for exchange in of_group.wrong]
    for exchange in [*failures, *wrong][:5]:
        say(f"damage: {exchange.bot}: {exchange.status} {exchange.problem}, {exchange.took_s:.2f} s")
    yield Row(f"damage, {what}: requests", sum(len(of_group.exchanges) for of_group in seen))
    yield none_row(f"damage, {what}: failed", len(failures))
    yield none_row(f"damage, {what}: answered by other weights", len(wrong))


def _published(place: Place) -> int:
    """Tables that controllers besides the stack's own have published."""
    path = place.folder / _OTHER_LOG
    return path.read_text(errors="replace").count('"table published"') if path.exists() else 0


def _log_size(place: Place) -> int:
    return place.stack.log_path.stat().st_size


def _lines(place: Place, mark: int, component: str, event: str) -> list[str]:
    """What a program has said since."""
    with place.stack.log_path.open("rb") as log:
        log.seek(mark)
        said = log.read().decode(errors="replace").splitlines()
    found = []
    for text in said:
        try:
            line: dict[str, Any] = json.loads(text)
        except ValueError:
            continue
        if line.get("component") == component and str(line.get("event", "")).startswith(event):
            found.append(text)
    return found
