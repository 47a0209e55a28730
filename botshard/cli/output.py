"""Where a command's words go: data to stdout, everything else to stderr.

`print_document` writes the one JSON document of `--json`. Tables are for people: aligned, coloured on a terminal that
wants it (NO_COLOR and TERM=dumb are respected), never cut when piped.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Column",
    "as_document",
    "note",
    "plain",
    "print_document",
    "print_pairs",
    "print_table",
    "progress_bar",
    "wants_color",
]

_MOST_FITTED_ROWS = 1000
"""Rows that are fitted to a terminal's width; more of them are only aligned, which is a hundred times faster."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    """Numbers stand to the right."""


def as_document(value: object, /) -> object:
    """`value` as plain JSON: dataclasses become objects with keys in camel case, enumerations their values."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {_camel(field.name): as_document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_document(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_document(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    return value


def print_document(value: object, /) -> None:
    """The one JSON document of a command with `--json`."""
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    sys.stdout.write(json.dumps(as_document(value), indent=2, ensure_ascii=ascii_only) + "\n")


def note(text: str, /) -> None:
    """A line for the person at the terminal, on stderr."""
    sys.stderr.write(plain(text) + "\n")


def plain(text: object, /) -> str:
    """`text` without control characters: what a bot answers must not steer a terminal."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in shown)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[object]], /) -> None:
    """Rows under their titles on stdout; None shows as a dash."""
    shown = [[_shown(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty() or len(shown) > _MOST_FITTED_ROWS:
        _write_lines([[column.title for column in columns], *shown], [column.right for column in columns])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(Text(column.title), justify="right" if column.right else "left", overflow="fold")
    for row in shown:
        table.add_row(*map(Text, row))
    _console(sys.stdout).print(table)


def print_pairs(pairs: Iterable[tuple[str, object]], /) -> None:
    """A name and what it is, line by line, on stdout."""
    shown = [[name, _shown(value)] for name, value in pairs]
    if not sys.stdout.isatty():
        _write_lines(shown, [False, False])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in shown:
        table.add_row(Text(name), Text(value))
    _console(sys.stdout).print(table)


def _write_lines(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    """Aligned, never folded, without spaces at the ends of lines; rich would take a second for a thousand of them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


@contextmanager
def progress_bar(what: str, /) -> Iterator[Callable[[int, int], None] | None]:
    """Something to tell (done, all) to while the block runs; None, and nothing drawn, unless stderr is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}")
    console = _console(sys.stderr)
    with Progress(
        text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, count: progress.update(task, completed=done, total=count)


def wants_color() -> bool:
    """Whether colour is welcome where a terminal shows it (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _shown(cell: object) -> str:
    return "-" if cell is None or cell == "" else plain(cell).replace("\n", "\\n")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
