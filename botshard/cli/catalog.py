"""`botshard bots`, `show`, `retire`, `rollback`: what the catalog holds and what of it is served."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from botshard.cli.errors import CommandError, WrongUsageError
from botshard.cli.options import AsJson, BotArgument, BotArguments, FolderOption, StoreOption
from botshard.cli.output import Column, note, print_document, print_table

__all__ = ["bots", "retire", "rollback", "show"]

_TERMINAL_LIMIT = 100
"""Lines of a list on a terminal: about what somebody reads. A pipe gets all of them."""


def bots(
    pattern: Annotated[str | None, typer.Argument(metavar="PATTERN", help="Ids, with * and ?.")] = None,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    group: Annotated[str | None, typer.Option(help="Only those of this pool group.")] = None,
    framework: Annotated[str | None, typer.Option(help="Only those of this framework.")] = None,
    state: Annotated[
        Literal["retired", "unplaced", "failed", "loading", "resident", "absent"] | None,
        typer.Option(help="Only those in this state."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Lines at most, 0: all; by default 100 on a terminal, else all.")
    ] = None,
    after: Annotated[str | None, typer.Option(metavar="BOT", help="Start after this id.")] = None,
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """List the bots of the catalog.

    States: retired; unplaced (the controller cannot place it); failed (its last load failed); loading; resident (in
    memory on a live replica); absent (the next request loads it).

    Examples:
      botshard bots

      botshard bots --tenant acme --state failed

      botshard bots "acme-*" --limit 50 --after acme-0049

      botshard bots --json | jq -r ".bots[].bot"
    """
    from botshard.cli.bot_views import BotFilter, BotState, bot_lines, page_of
    from botshard.cli.context import session
    from botshard.cli.looking import look_at_all
    from botshard.cli.texts import BOT_COLUMNS, bot_cells, problem_notes

    wanted = BotFilter(tenant, group, framework, BotState(state) if state else None, pattern)
    if limit is None:
        limit = _TERMINAL_LIMIT if sys.stdout.isatty() and not as_json else 0
    with session(store, folder) as opened:
        world = look_at_all(opened)
        url, said_by = opened.store.url, opened.place.said_by
    page = page_of(bot_lines(world, wanted), after=after, limit=limit)
    if as_json:
        print_document(
            {"store": url, "total": page.total, "next": page.next_after, "bots": page.bots, "problems": world.problems}
        )
        return
    if page.bots:
        print_table(BOT_COLUMNS, map(bot_cells, page.bots))
    else:
        note(f"no such bots in {url} ({said_by}); the catalog holds {len(world.bots)}")
    if page.next_after is not None:
        note(f"{len(page.bots)} of {page.total} bots; more: --after {page.next_after}, all: --limit 0")
    for line in problem_notes(world.problems):
        note(line)


def show(bot: BotArgument, *, store: StoreOption = None, folder: FolderOption = None, as_json: AsJson = False) -> None:
    """Show one bot: versions, pools, and how its replicas are.

    Examples:
      botshard show acme-banking

      botshard show acme-banking --json
    """
    from botshard.cli.context import session
    from botshard.cli.looking import look_at
    from botshard.cli.texts import print_detail, problem_notes

    with session(store, folder) as opened:
        detail, _ = look_at(opened, bot)
    if as_json:
        print_document(detail)
        return
    print_detail(detail)
    for line in problem_notes(detail.problems):
        note(line)


@dataclass(frozen=True, slots=True)
class RolloutChange:
    """What a change of a rollout did."""

    bot: str
    rollout: str
    """`latest`, or a version's number."""
    serving: int
    was_serving: int
    latest: int


def retire(
    bots: BotArguments, *, store: StoreOption = None, folder: FolderOption = None, as_json: AsJson = False
) -> None:
    """Take bots out of service; their versions stay.

    They are answered as unknown from then on. Publishing a bot's folder again brings it back. If one of the ids is
    unknown, none is retired.

    Examples:
      botshard retire acme-banking

      botshard retire acme-banking acme-travel
    """
    from botshard.bots.errors import UnknownBotError
    from botshard.bots.rollouts import read_bots
    from botshard.bots.rollouts import retire as retire_bot
    from botshard.cli.context import session
    from botshard.cli.looking import checked_ids
    from botshard.store.catalog import CatalogStore

    ids = checked_ids(bots)
    with session(store, folder) as opened:
        known = read_bots(opened.store, ids)
        if len(known) < len(ids):
            every = CatalogStore(opened.store).read_all()
            unknown = [str(UnknownBotError(bot_id, every)) for bot_id in ids if bot_id not in known]
            looked = f"nothing was retired; looked in {opened.store.url} ({opened.place.said_by})"
            raise CommandError("\n".join([*unknown, looked]))
        for bot_id in ids:
            retire_bot(opened.store, bot_id)
    outcomes = [{"bot": bot_id, "status": "unchanged" if known[bot_id].retired else "retired"} for bot_id in ids]
    if as_json:
        print_document({"bots": outcomes})
        return
    print_table((Column("BOT"), Column("STATUS")), ((one["bot"], one["status"]) for one in outcomes))


def rollback(
    bot: BotArgument,
    *,
    to: Annotated[int | None, typer.Option(min=1, metavar="N", help="Version; by default the one before.")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Follow the newest version again.")] = False,
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """Serve an earlier version of a bot, and stay there.

    Newer versions are kept; `--latest` goes back to them.

    Examples:
      botshard rollback acme-banking

      botshard rollback acme-banking --to 3

      botshard rollback acme-banking --latest
    """
    from botshard.bots.rollouts import read_bot, set_rollout
    from botshard.bots.rollouts import rollback as roll_back
    from botshard.cli.context import session
    from botshard.cli.looking import checked_ids

    if latest and to is not None:
        raise WrongUsageError("--latest and --to N exclude each other")
    bot_id = checked_ids([bot])[0]
    with session(store, folder) as opened:
        before = read_bot(opened.store, bot_id)
        after = set_rollout(opened.store, bot_id, None) if latest else roll_back(opened.store, bot_id, to=to)
    change = RolloutChange(
        bot=bot_id,
        rollout="latest" if after.rollout.version is None else str(after.rollout.version),
        serving=after.serving.number,
        was_serving=before.serving.number,
        latest=after.latest.number,
    )
    if as_json:
        print_document(change)
        return
    follows = "and follows the newest" if latest else f"and stays there (the newest is {change.latest})"
    print(f"{bot_id} serves version {change.serving} (was {change.was_serving}) {follows}")
