"""Where a drill takes place: a live stack, bots of two pool groups, load on all of them, and an operator's hands."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TypeVar

from botshard.bots.publish import publish
from botshard.cli.main import run as run_botshard
from botshard.local.processes import start_ticks_of
from botshard.local.stack_process import StackProcess
from botshard.sharding.fleet import PoolPhase
from botshard.sharding.hashing import bot_hash
from botshard.sharding.ids import BotId, GroupName, PoolName
from botshard.sharding.routing import FamilyRoutes, RoutingTable
from botshard.store.base import ObjectStore
from botshard.store.table import TableStore
from botshard.store.urls import open_store
from drills.bots import DrillBot, make_bots, with_versions
from drills.load import Load, Stream, running_load

__all__ = ["KEPT", "NON_REALTIME", "REALTIME", "GroupShape", "Place", "say", "set_up", "wait_until"]

T = TypeVar("T")

REALTIME = GroupName("realtime")
NON_REALTIME = GroupName("non-realtime")
KEPT = "kept"
"""The stream that asks bots over connections that are kept."""

_GRACE_S = 2.0
"""How long pools answer for shards that have left them: routers of a stack on a folder look twice a second."""
_POLL_S = 0.05
_START_S = 90.0
_SETTLE_S = 120.0
_WARM_UP_S = 5.0

_GROUP = """\
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {{name: {name}}}
spec:
  class: {name}
  replicas: {{min: {replicas}, max: {replicas_max}}}
  shardReplicas: {copies}
  pool: {{bots: {bots}{room}}}
  timeouts: {{request: 10s, coldStart: 20s, idle: 30s}}
"""


@dataclass(frozen=True, slots=True)
class GroupShape:
    """What drills change of a pool group."""

    bots: int
    """Bots that a pool may have."""
    copies: int = 1
    """In how many pools each shard is."""
    replicas: int = 1
    """Floor of replicas."""
    replicas_max: int = 2
    memory: str = ""
    """Bound on the bots in a pool's memory, as the group's file has it; with one, its bots are large, and far more live
    in the pool than fit."""
    most_open: int = 0
    """Requests to all bots, while which are open this group's are asked nothing; 0: the load never waits."""
    versions: int = 0
    """Other versions that each bot has, which may be published while it is asked."""
    kept_per_s: float = 0.0
    """Requests a second over kept connections, besides those that have one of their own."""


def say(text: str) -> None:
    """A line about how far a drill is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def wait_until(check: Callable[[], T], /, *, within_s: float, what: str) -> T:
    """The first true value of `check()`. Raises: TimeoutError saying that `what` has not come."""
    deadline_s = time.monotonic() + within_s
    while not (value := check()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(_POLL_S)
    return value


@dataclass(eq=False)
class Place:
    """A stack under load."""

    folder: Path
    stack: StackProcess
    store: ObjectStore
    bots: Mapping[GroupName, Sequence[DrillBot]]
    shapes: dict[GroupName, GroupShape]
    load: Load = field(init=False)

    @property
    def table(self) -> RoutingTable:
        """In force as the store has it."""
        found = TableStore(self.store).read()
        if found is None:
            raise RuntimeError("there is no routing table")
        return found[0]

    def family(self, group: GroupName) -> FamilyRoutes:
        """The only family of a group."""
        return next(family for family in self.table.families.values() if family.key.group == group)

    def bots_of(self, pool: PoolName) -> set[str]:
        """Ids of the bots that live in a pool, and those for whom it answers still."""
        table = self.table
        route = table.pools[pool]
        return {bot.id for bot in self.bots[route.group] if table.owns(pool, route.family, bot_hash(BotId(bot.id)))}

    def botshard(self, *arguments: str) -> tuple[int, str]:
        """Run a command as an operator would; exit code and what it printed."""
        printed = StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            exit_code = run_botshard(arguments)
        return exit_code, printed.getvalue()

    def apply(self, *arguments: str) -> None:
        """`botshard apply … --wait`. Raises: RuntimeError with what it said where that does not settle."""
        where = ("--folder", str(self.stack.folder.path))
        exit_code, printed = self.botshard("apply", *arguments, "--wait", "--wait-s", f"{_SETTLE_S:g}", *where)
        if exit_code:
            raise RuntimeError(f"botshard apply {' '.join(arguments)} ended with {exit_code}:\n{printed}")

    def shape(self, group: GroupName, shape: GroupShape) -> None:
        """Write a pool group's file anew."""
        self.shapes[group] = shape
        write_groups(self.folder, self.shapes)

    def pids(self, kind: str, pool: str = "") -> list[int]:
        """Processes of the stack: `router`, `controller`, or a pool's `replica`s."""
        records = self.stack.records()["processes"]
        return [record["pid"] for record in records if record["kind"] == kind and record["pool"] == pool]

    def kill(self, kind: str, pool: str = "") -> int:
        """`kill -9` of all of a kind; how many there were."""
        killed = 0
        for pid in self.pids(kind, pool):
            if start_ticks_of(pid) is not None:
                os.kill(pid, signal.SIGKILL)
                killed += 1
        return killed

    def wait_until_ready(self) -> None:
        """Wait until every pool that does not sleep has its replicas."""
        fine = (PoolPhase.READY, PoolPhase.ASLEEP)
        wait_until(
            lambda: all(status.phase in fine for status in self.stack.statuses().values()),
            within_s=_START_S,
            what="all pools are ready",
        )


def write_groups(folder: Path, shapes: Mapping[GroupName, GroupShape]) -> Path:
    """The pool groups' file, whole at any moment."""
    documents = [
        _GROUP.format(
            name=name,
            bots=shape.bots,
            room=f", memory: {shape.memory}, overcommit: 100" if shape.memory else "",
            copies=shape.copies,
            replicas=shape.replicas if name == REALTIME else 0,
            replicas_max=shape.replicas_max,
        )
        for name, shape in shapes.items()
    ]
    path = folder / "groups.yaml"
    new = folder / "groups.new"
    new.write_text("---\n".join(documents))
    return new.replace(path)


def _make_bots(folder: Path, group: GroupName, shape: GroupShape, count: int, *, seed: int) -> list[DrillBot]:
    names = [f"{group[:2]}-{index:03}" for index in range(count)]
    made = make_bots(folder / "bots", names, group=group, seed=seed, is_large=bool(shape.memory))
    if not shape.versions:
        return made
    return [with_versions(bot, shape.versions, group=group, seed=seed, is_large=bool(shape.memory)) for bot in made]


@contextmanager
def set_up(
    folder: Path,
    *,
    shapes: Mapping[GroupName, GroupShape],
    bots: Mapping[GroupName, int],
    rates_per_s: Mapping[GroupName, float],
    seed: int,
    warm_up_s: float = _WARM_UP_S,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Place]:
    """A stack that serves all its bots, under load, for as long as this context lasts; nothing is left running."""
    folder.mkdir(parents=True, exist_ok=True)
    environ = {**environ, "SHARDS_GRACE_S": f"{_GRACE_S:g}", "OMP_NUM_THREADS": "1"}
    made = {group: _make_bots(folder, group, shapes[group], count, seed=seed) for group, count in bots.items()}
    groups = write_groups(folder, shapes)
    stack = StackProcess(folder / "stack", groups=groups, environ=environ, log=folder / "log.txt")
    stack.start(["--log-format", "json"])
    try:
        url = stack.wait_until_serving(within_s=_START_S)
        store = open_store(stack.store_url, environ)
        place = Place(folder, stack, store, made, dict(shapes))
        publish(store, [bot.folder for of_group in made.values() for bot in of_group], now_s=int(time.time()))
        wait_until(lambda: len(place.stack.statuses()) >= len(made), within_s=_START_S, what="every group has a pool")
        place.apply()
        place.wait_until_ready()
        streams = [Stream(str(group), rates_per_s[group], made[group], shapes[group].most_open) for group in made]
        streams += [
            Stream(KEPT, shapes[group].kept_per_s, made[group], is_kept=True)
            for group in made
            if shapes[group].kept_per_s
        ]
        with running_load(folder, url, streams, environ=environ) as place.load:
            place.load.watch(warm_up_s)
            yield place
        store.close()
    finally:
        stack.stop()
