"""`botshard pools` and `botshard explain`: where bots are."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from botshard.cli.options import AsJson, BotArgument, FolderOption, StoreOption, UrlOption
from botshard.cli.output import note, print_document, print_table

__all__ = ["explain", "pools"]


def pools(
    *,
    group: Annotated[str | None, typer.Option(help="Only those of this pool group.")] = None,
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """List the pools: bots, replicas, memory, rate.

    SHARDS are those routed to a pool; +n are on their way to it, -n have left it and are still answered. RESIDENT and
    MEMORY are of the replica that holds most. PHASE is known where the local stack runs.

    Examples:
      botshard pools

      botshard pools --group realtime --json
    """
    from dataclasses import replace

    from botshard.cli.context import session
    from botshard.cli.looking import look_at_all
    from botshard.cli.pool_views import fleet_of
    from botshard.cli.texts import POOL_COLUMNS, pool_cells, problem_notes

    with session(store, folder) as opened:
        fleet = fleet_of(look_at_all(opened))
        url, said_by = opened.store.url, opened.place.said_by
    if group is not None:
        fleet = replace(fleet, pools=tuple(line for line in fleet.pools if line.group == group))
    if as_json:
        print_document(fleet)
        return
    if fleet.pools:
        print_table(POOL_COLUMNS, map(pool_cells, fleet.pools))
    else:
        why = "no routing table has been published" if fleet.epoch is None else f"epoch {fleet.epoch}"
        note(f"no such pools in {url} ({said_by}): {why}")
    for line in fleet.pools:
        if line.message is not None:
            note(f"{line.pool}: {line.message}")
        if line.leaving is not None:
            note(f"{line.pool} is {line.leaving}: no shard is to live in it")
    for sentence in fleet.waiting:
        note(f"the controller waits: {sentence}")
    if fleet.unplaced:
        note(f"{fleet.unplaced} bots cannot be placed: botshard bots --state unplaced")
    for text in problem_notes(fleet.problems):
        note(text)


def explain(
    bot: BotArgument,
    *,
    request: Annotated[
        bool, typer.Option("--request", help="Tell where the time of its last cold requests went, and nothing else.")
    ] = False,
    url: UrlOption = None,
    store: StoreOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """Tell where a bot is, and why.

    Every step from its id to its pools, computed here from the catalog's entry and the routing table, as every router
    and replica does. Where a router runs, also what it sees of these pools now, its limits and the last errors.

    Examples:
      botshard explain acme-banking

      botshard explain acme-banking --request

      botshard explain acme-banking --json
    """
    from dataclasses import replace

    from botshard.cli.context import find_place, session
    from botshard.cli.explain_view import explain_detail
    from botshard.cli.looking import checked_ids, look_at
    from botshard.cli.router_view import ask_cold_requests, ask_router, print_cold_requests, print_router
    from botshard.cli.texts import print_explanation, problem_notes

    if request:
        cold = ask_cold_requests(checked_ids([bot])[0], url, find_place(store, folder, os.environ))
        if as_json:
            print_document({"bot": bot, "requests": cold})
        else:
            print_cold_requests(cold)
        return
    with session(store, folder) as opened:
        detail, world = look_at(opened, bot)
        place = opened.place
    explanation = replace(explain_detail(detail, world), router=ask_router(bot, url, place))
    if as_json:
        print_document(explanation)
        return
    print_explanation(explanation)
    if explanation.router is not None:
        print_router(explanation.router)
    for line in problem_notes(detail.problems):
        note(line)
