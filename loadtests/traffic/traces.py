"""Counts of real invocations, where somebody has them: the files of the Azure Functions trace of 2019.

`invocations_per_function_md.anon.d01.csv` has a line a function: whose it is, its application, its own name, what
triggers it, and the number of invocations of each minute of a day. Nothing here needs it; `--popularity FILE` takes it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable

__all__ = ["TraceError", "read_counts"]

_FIRST_MINUTE = "1"


class TraceError(ValueError):
    """A file that is no such trace; the text says where."""


def read_counts(lines: Iterable[str], /) -> list[int]:
    """Invocations of each function over the day. Raises: TraceError."""
    rows = csv.reader(lines)
    head = next(rows, [])
    if _FIRST_MINUTE not in head:
        raise TraceError("the first line names no column `1`, which the first minute of a day has")
    first = head.index(_FIRST_MINUTE)
    counts = []
    for number, row in enumerate(rows, 2):
        try:
            counts.append(sum(int(minute or 0) for minute in row[first:]))
        except ValueError as error:
            raise TraceError(f"line {number}: {error}") from error
    return counts
