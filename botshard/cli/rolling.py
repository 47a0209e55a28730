"""`botshard roll`: all that runs is replaced while it serves, so that a new version is taken up."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from botshard.cli.errors import CommandError
from botshard.cli.output import note
from botshard.cli.stack import DEFAULT_FOLDER
from botshard.local.front import running_stack
from botshard.local.roll import ask_for_roll, asked_roll_ticks
from botshard.local.settings import StackFolder

__all__ = ["roll"]

_POLL_S = 0.1


def roll(
    folder: Annotated[Path, typer.Argument(envvar="BOTSHARD_FOLDER", help="Folder of the stack.")] = DEFAULT_FOLDER,
    *,
    wait: Annotated[bool, typer.Option(help="Stay until it is done.")] = True,
    wait_s: Annotated[float, typer.Option(min=0, help="How long to stay at most, seconds.")] = 300.0,
) -> None:
    """Replace all that runs with what is installed now, piece by piece, while it serves.

    Keeper, zygotes, the replicas of one pool after the other, router, controller: the new one is ready before the old
    one goes, and the old one finishes what it has. What does not come up replaces nothing: the old ones go on, and it
    is tried again until another roll or the stack's end. Only the front, the process in your terminal, stays.

    Examples:
      botshard roll

      botshard roll /srv/bots --no-wait
    """
    stack = StackFolder(folder.resolve())
    if running_stack(stack) is None:
        raise CommandError(f"no stack runs in {stack.path}")
    ticks = ask_for_roll(stack)
    if not wait:
        return
    deadline_s = time.monotonic() + wait_s
    said = ""
    while asked_roll_ticks(stack) is not None:
        line = _left(stack, ticks)
        if line and line != said:
            note(line)
            said = line
        if running_stack(stack) is None:
            raise CommandError(f"the stack in {stack.path} has ended")
        if time.monotonic() > deadline_s:
            raise CommandError(f"not done within {wait_s:g} s, and still being tried; {said}: see the stack's log")
        time.sleep(_POLL_S)
    note("all that runs was replaced")


def _left(stack: StackFolder, ticks: int) -> str:
    """What is still to be replaced; empty where there is nothing, or it cannot be told now."""
    try:
        records: Mapping[str, list[dict[str, Any]]] = json.loads(stack.processes.read_bytes())
        old = [record for records_of in records.values() for record in records_of if record["code_ticks"] < ticks]
    except (OSError, ValueError, KeyError):
        return ""
    counts = {"zygotes": 0, "replicas": 0, "programs": 0}
    for record in old:
        kind = record.get("kind")
        counts["zygotes" if kind is None else "replicas" if kind == "replica" else "programs"] += 1
    if not old:
        return ""
    return "still to be replaced: " + ", ".join(f"{count} {kind}" for kind, count in counts.items())
