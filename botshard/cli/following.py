"""Watching a shard controller do what it was asked for, with its own way to look and to plan."""

from __future__ import annotations

import time

from botshard.cli.controller_view import read_controller
from botshard.cli.errors import CommandError
from botshard.cli.output import note
from botshard.sharding.fleet import Snapshot
from botshard.sharding.placement import place
from botshard.sharding.plan import Plan, plan
from botshard.store.base import ObjectStore
from shard_controller.observe import Observation, Observer

__all__ = ["GRACE_S", "follow", "look"]

_POLL_S = 0.5
GRACE_S = 5.0
"""Only says how a step would linger; the plan's numbers do not depend on it."""


def look(observer: Observer, /) -> Observation:
    """What is now. Raises: CommandError where a part of the catalog cannot be read; WorldError."""
    observer.look()
    if observer.unread:
        raise CommandError(f"nothing can be planned until {', '.join(sorted(observer.unread))} can be read")
    return observer.observation()


def follow(observer: Observer, store: ObjectStore, /, *, deadline_s: float) -> None:
    """A line for each change until the controller has nothing left to do.

    Raises: CommandError where it does not get there in time, or refuses.
    """
    said = ""
    total = 0
    while True:
        observed = look(observer)
        snapshot = observed.snapshot
        step = plan(snapshot, place(snapshot), now_s=time.time(), grace_s=GRACE_S)
        total = max(total, step.moving)
        line = _progress(snapshot, step, total)
        if line != said:
            note(line)
            said = line
        if step.held:
            raise CommandError("\n".join(step.held))
        if step.is_settled and step.stuck:
            raise CommandError("\n".join(("nothing more moves until these bots load:", *step.stuck)))
        if step.is_settled and not snapshot.leaving:
            return
        if time.monotonic() > deadline_s:
            waiting = (
                "; ".join(read_controller(store).waiting or step.waiting)
                or "it has not acted: does a shard controller run?"
            )
            raise CommandError(f"the controller has not finished in time; it waits: {waiting}")
        time.sleep(_POLL_S)


def _progress(snapshot: Snapshot, step: Plan, total: int) -> str:
    """How far the moves have come, in a line. `total`: shards that had to move when it began."""
    table = snapshot.table
    families = table.families.values() if table else ()
    warming = sum(target.has_begun for family in families for target in family.targets.values())
    lingering = sum(len(family.lingering) for family in families)
    left = len(snapshot.leaving.intersection(table.pools if table else ()))
    return (
        f"table {table.epoch if table else 0}: {total - step.moving} of {total} shards moved, {warming} warm, "
        f"{lingering} linger, {left} pools still to be left"
    )
