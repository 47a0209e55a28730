"""The `botshard` command: which commands there are, and what each way to end means.

A command's module is imported when that command runs: `botshard --help` imports no store, no protocol and no framework.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import getdoc
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import botshard
from botshard.cli.errors import EXIT_INTERRUPTED, error_lines, exit_code_of
from botshard.sharding.errors import WorldError

__all__ = ["COMMANDS", "CommandEntry", "help_text", "load_command", "main", "make_command", "run"]

_EXIT_BROKEN_PIPE = 141  # as a program that SIGPIPE ended: `botshard bots | head` is no failure of ours


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command: where its function is, and its line in the list of commands in one short sentence."""

    name: str
    module: str
    function: str
    summary: str


COMMANDS = (
    CommandEntry("init", "authoring", "init", "Make a folder with a bot to start from."),
    CommandEntry("publish", "authoring", "publish", "Check folders of bots and store each as a new version."),
    CommandEntry("backbone", "backbones", "backbone", "Store encoders that bots are heads on; list and show them."),
    CommandEntry("bots", "catalog", "bots", "List the bots of the catalog."),
    CommandEntry("show", "catalog", "show", "Show one bot: versions, pools, and how its replicas are."),
    CommandEntry("retire", "catalog", "retire", "Take bots out of service; their versions stay."),
    CommandEntry("rollback", "catalog", "rollback", "Serve an earlier version of a bot, and stay there."),
    CommandEntry("up", "stack", "up", "Run everything on this machine until Ctrl-C."),
    CommandEntry("down", "stack", "down", "Stop the stack that runs in a folder."),
    CommandEntry("roll", "rolling", "roll", "Replace all that runs, piece by piece, while it serves."),
    CommandEntry("pools", "fleet", "pools", "List the pools: bots, replicas, memory, rate."),
    CommandEntry("explain", "fleet", "explain", "Tell where a bot is, and why."),
    CommandEntry("plan", "planning", "plan", "Show what would move, and change nothing."),
    CommandEntry("apply", "planning", "apply", "Ask the controller for what `plan` showed."),
    CommandEntry("savings", "savings", "savings", "Tell what sharding by family saves in bytes."),
    CommandEntry("predict", "predicting", "predict", "Ask a bot through the router."),
    CommandEntry("key", "keys", "key", "Make, list and revoke API keys."),
    CommandEntry("limits", "limits", "limits", "Show and set what tenants and bots may ask."),
    CommandEntry("doctor", "checkup", "doctor", "Check this machine, the store and the stack."),
    CommandEntry("version", "about", "version", "Print the version of botshard."),
)


class _Commands(TyperGroup):
    """Commands by name, each imported when it is called; until then only its summary is known."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None or name is None else load_command(name), rest


def load_command(name: str, /) -> Any:
    """The whole command with this name."""
    entry = next(entry for entry in COMMANDS if entry.name == name)
    function = getattr(import_module(f"botshard.cli.{entry.module}"), entry.function)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(entry.name, help=help_text(getdoc(function) or entry.summary))(function)
    return typer.main.get_command(alone)


def help_text(docstring: str, /) -> str:
    """A docstring as help: the lines of its `Examples:` stay as they are, everything else is filled to the width."""
    text, heading, examples = docstring.partition("\nExamples:\n")
    if not heading:
        return text
    lines = [line for line in examples.splitlines() if line.strip()]
    return "\n".join([text.rstrip(), "", "Examples:", "", "\b", *lines])


def make_command() -> Any:
    """`botshard` with all commands, as yet only their names and summaries."""
    app = typer.Typer(
        cls=_Commands, rich_markup_mode=None, context_settings={"help_option_names": ["--help", "-h"]}, help=_HELP
    )
    app.callback(no_args_is_help=True, invoke_without_command=True)(_root)
    group = typer.main.get_command(app)
    for entry in COMMANDS:
        group.commands[entry.name] = TyperCommand(entry.name, help=entry.summary)  # type: ignore[attr-defined]
    return group


_HELP = """Thousands of small per-customer models, sharded over pools.

Data goes to stdout and everything else to stderr; --json prints one JSON document.
Exit codes: 0 done, 1 refused, not found or failed, 2 wrong usage, 3 store or router cannot be reached, 130 Ctrl-C.

Examples:

\b
  botshard init my-bot              a bot to start from
  botshard up                       everything on this machine, in another terminal
  botshard publish my-bot
  botshard predict my-bot "hello"
"""


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"botshard {botshard.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What stands before a command."""


def run(arguments: Sequence[str], /) -> int:
    """Run one command; its exit code."""
    try:
        make_command().main(list(arguments), prog_name="botshard")
    except SystemExit as ended:
        return _flushed(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except WorldError as error:
        from botshard.cli.output import plain

        sys.stderr.write("".join(plain(line) + "\n" for line in error_lines(error)))
        return _flushed(exit_code_of(error))
    return _flushed(0)


def main() -> None:
    """Run with this process's arguments and environment, and end it."""
    for stream in (sys.stdout, sys.stderr):
        # An id or a label that the terminal's encoding lacks must not end a command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def _flushed(exit_code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # So that the interpreter, which flushes once more at its end, has nobody to complain to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_BROKEN_PIPE
    return exit_code
