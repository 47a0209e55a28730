"""`botshard plan` and `botshard apply`: what a change of pools would mean, and making it so."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from botshard.cli.errors import CommandError, WrongUsageError
from botshard.cli.options import AsJson, FolderOption, StoreOption
from botshard.cli.output import note, print_document

if TYPE_CHECKING:
    from botshard.cli.context import Session
    from botshard.cli.plan_view import PlanView
    from botshard.sharding.fleet import Snapshot
    from botshard.sharding.ids import BotId
    from botshard.store.intents import Intents
    from shard_controller.observe import Observation, Observer

__all__ = ["apply", "plan"]

GroupsOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--groups", metavar="FILE", help="Pool groups to plan with; may be repeated. Else those of the stack that runs."
    ),
]
AddOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--add", min=0, metavar="N", help="N pools more than the family has; 0: no more than its bots need."),
]
FamilyOption: TypeAlias = Annotated[
    str | None, typer.Option("--family", metavar="ID", help="Family that --add is for; `botshard plan` lists them.")
]
DrainOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--drain", metavar="POOL", help="Leave this pool; may be repeated.")
]
QuarantineOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--quarantine", metavar="POOL", help="Ask this pool nothing any more, at once; may be repeated."),
]


def plan(
    *,
    groups: GroupsOption = None,
    add: AddOption = None,
    family: FamilyOption = None,
    drain: DrainOption = None,
    quarantine: QuarantineOption = None,
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what would move, and change nothing.

    Computed from catalog, reports and routing table by the controller's own code: moves, what share of bots and
    traffic they are and what the ideal would be, how even pools are before and after, how far one bot reaches, how
    long warming takes.

    Examples:
      botshard plan

      botshard plan --add 1 --family torch-8f25fe36

      botshard plan --drain realtime-torch-8f25fe36-02c31a

      botshard plan --groups new-groups.yaml --json
    """
    from botshard.cli.context import session
    from botshard.cli.following import look
    from botshard.cli.plan_view import print_plan
    from botshard.cli.texts import problem_notes
    from botshard.cli.wishes import Wish, wished_intents

    wish = Wish(add, family, tuple(drain or ()), quarantine=tuple(quarantine or ()))
    with session(store, folder) as opened, _observer(opened, groups) as (observer, files):
        observed = look(observer)
        view = _view(observed, wished_intents(observed.intents, wish, observed.snapshot), files, observer.problems())
    if as_json:
        print_document(view)
        return
    print_plan(view)
    for line in problem_notes(view.problems):
        note(line)


def apply(
    *,
    groups: GroupsOption = None,
    add: AddOption = None,
    family: FamilyOption = None,
    drain: DrainOption = None,
    undo_drain: Annotated[
        list[str] | None, typer.Option("--undo-drain", metavar="POOL", help="Shards may live in this pool again.")
    ] = None,
    quarantine: QuarantineOption = None,
    undo_quarantine: Annotated[
        list[str] | None, typer.Option("--undo-quarantine", metavar="POOL", help="This pool may be asked again.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the controller has done it.")] = False,
    wait_s: Annotated[float, typer.Option(min=0, help="Seconds that --wait waits at most.")] = 600.0,
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """Ask the controller for what `plan` showed.

    What is asked for stays in the store until it is done or taken back: a pool that is drained or quarantined is
    forgotten when it is gone, added pools stay until --add 0. Pool groups are changed in their file, which the
    controller reads again by itself. What is taken back stops no move that is under way; it lets shards come again.

    A drained pool serves until its shards are loaded elsewhere. A quarantined one is asked nothing from now on: shards
    that have another pool are served there, the others by their new pools, which load bots when they are asked.

    Examples:
      botshard apply --drain realtime-torch-8f25fe36-02c31a --wait

      botshard apply --quarantine realtime-torch-8f25fe36-02c31a

      botshard apply --undo-drain realtime-torch-8f25fe36-02c31a

      botshard apply --add 1 --family torch-8f25fe36
    """
    from botshard.cli.context import session
    from botshard.cli.following import follow, look
    from botshard.cli.plan_view import print_plan
    from botshard.cli.wishes import Wish, wished_intents
    from botshard.store.intents import change_intents

    wish = Wish(
        add, family, tuple(drain or ()), tuple(undo_drain or ()), tuple(quarantine or ()), tuple(undo_quarantine or ())
    )
    asks = wish != Wish()
    if not (asks or groups or wait):
        raise WrongUsageError("nothing to apply: say --add N, --drain POOL, --quarantine POOL or undo one of them")
    with session(store, folder) as opened, _observer(opened, groups) as (observer, files):
        observed = look(observer)
        snapshot = observed.snapshot
        view = _view(observed, wished_intents(observed.intents, wish, snapshot), files, observer.problems())
        if asks:
            change_intents(opened.store, lambda now: wished_intents(now, wish, snapshot))
        if not as_json:
            print_plan(view)
        if groups:
            note("pool groups are changed in their file: the controller reads it again when it has changed")
        if wait:
            follow(observer, opened.store, deadline_s=time.monotonic() + wait_s)
    if as_json:
        print_document(view)


@contextmanager
def _observer(opened: Session, groups: list[Path] | None) -> Iterator[tuple[Observer, tuple[Path, ...]]]:
    """The controller's own way to look at the world, and the group files that it looks at."""
    from botshard.cli.looking import open_home
    from botshard.cli.unknown_pools import UnknownPools
    from botshard.local.home import LocalHome
    from botshard.local.pool_group_files import default_group_files
    from shard_controller.group_files import GroupFiles
    from shard_controller.local import LocalPools
    from shard_controller.observe import Observer

    stack = opened.place.own_stack
    files = tuple(groups or ()) or (stack.group_files if stack else ()) or default_group_files()
    group_files = GroupFiles(files)
    group_files.refresh()
    if group_files.problem is not None:
        raise CommandError(group_files.problem)
    with open_home(opened) as home:
        pools = UnknownPools() if home is None else LocalPools(LocalHome(home))
        yield Observer(opened.store, pools, group_files), files


def _view(observed: Observation, intents: Intents, files: tuple[Path, ...], problems: Mapping[str, str]) -> PlanView:
    from botshard.cli.following import GRACE_S
    from botshard.cli.plan_view import PlanView
    from botshard.cli.wishes import with_intents
    from botshard.sharding.placement import place
    from botshard.sharding.plan import plan as next_step
    from botshard.sharding.preview import preview

    snapshot = with_intents(observed.snapshot, intents)
    placement = place(snapshot)
    step = next_step(snapshot, placement, now_s=time.time(), grace_s=GRACE_S)
    return PlanView(
        epoch=snapshot.table.epoch if snapshot.table else None,
        group_files=tuple(str(path) for path in files),
        intents=intents,
        preview=preview(snapshot, placement, load_s=_load_times(observed)),
        waiting=step.waiting,
        moving=step.moving,
        moved_at_once=_moved_at_once(snapshot),
        refused=placement.refused,
        problems=dict(problems),
    )


def _moved_at_once(snapshot: Snapshot) -> int:
    """Shards that have no pool but quarantined ones: their new pools are asked before they are warm."""
    families = snapshot.table.families.values() if snapshot.table and snapshot.quarantined else ()
    return sum(snapshot.quarantined.issuperset(pools) for family in families for pools in family.shards)


def _load_times(observed: Observation) -> dict[BotId, float]:
    """How long each bot's last load took, the longest of its replicas."""
    load_s: dict[BotId, float] = {}
    for report in observed.reports.values():
        for bot_id, bot in report.bots.items():
            if bot.load_s:
                load_s[bot_id] = max(load_s.get(bot_id, 0.0), bot.load_s)
    return load_s
