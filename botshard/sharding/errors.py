"""Everything that can go wrong, as one tree.

```
ShardingError                 refuses to be raised itself
├── CallerError               a contract of ours was broken: our bug, never the user's
└── WorldError                the world is not as it must be
    ├── TransientError        the same call may work later (a store that is away, a pool that starts)
    └── TerminalError         the same call never works (a bad document, a missing object)
        └── InvalidDocumentError   a file, an object or a message was refused whole; lists every problem in it
```

No status codes here: each package that speaks HTTP maps these in its own `problems.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CallerError",
    "InvalidDocumentError",
    "Problem",
    "ShardingError",
    "TerminalError",
    "TransientError",
    "WorldError",
]

_SHOWN_VALUE_CHARS = 80  # enough to recognise a value, too little to flood a log line


class ShardingError(Exception):
    """Root of the tree. Raise one of its children."""

    def __init__(self, message: str) -> None:
        if type(self) is ShardingError:
            raise TypeError("raise CallerError, TransientError or TerminalError, not ShardingError itself")
        super().__init__(message)


class CallerError(ShardingError):
    """A precondition that our own code must keep was broken."""


class WorldError(ShardingError):
    """Store, cluster, network or a document is not as it must be."""


class TransientError(WorldError):
    """May work when tried again; `retry_after_s` is a hint in seconds, None where nothing is known."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TerminalError(WorldError):
    """Will not work when tried again without a change."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a document: where, what was found, what would be right."""

    field: str
    """Path to the field, dots and indices: `inputs[0].datatype`; empty for the document as a whole."""
    found: str
    """The value found, as a person would type it, shortened; `nothing` where it is missing."""
    expected: str
    """What would be right, as the end of "must be ..."."""

    @classmethod
    def of(cls, field: str, value: object, expected: str) -> Problem:
        """A problem whose found value is shown shortened; None reads `nothing`."""
        shown = "nothing" if value is None else repr(value)
        if len(shown) > _SHOWN_VALUE_CHARS:
            shown = shown[: _SHOWN_VALUE_CHARS - 1] + "…"
        return cls(field, shown, expected)

    def __str__(self) -> str:
        """`field: must be ..., found ...`."""
        where = f"{self.field}: " if self.field else ""
        return f"{where}must be {self.expected}, found {self.found}"


class InvalidDocumentError(TerminalError):
    """A document was refused whole. `document` names it, `problems` holds every problem, at least one."""

    def __init__(self, document: str, problems: Iterable[Problem]) -> None:
        self.document = document
        self.problems = tuple(problems)
        lines = [f"{document}: {problem}" for problem in self.problems]
        super().__init__("\n".join(lines))
