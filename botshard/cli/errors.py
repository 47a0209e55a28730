"""What ends a command, and with which exit code.

```
WorldError                      1   refused, not found, failed
├── WrongUsageError             2   the command line or the environment is wrong
├── NoStoreError                3   there is no store where one was looked for
├── RouterUnavailableError      3   the router cannot be reached
└── StoreUnavailableError       3   the store cannot be reached (`botshard.store.base`)
```
"""

from __future__ import annotations

from botshard.sharding.errors import TerminalError, TransientError, WorldError

__all__ = [
    "EXIT_INTERRUPTED",
    "EXIT_REFUSED",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "CommandError",
    "NoStoreError",
    "RouterUnavailableError",
    "WrongUsageError",
    "error_lines",
    "exit_code_of",
]

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130
"""What shells say of a program that Ctrl-C ended."""


class CommandError(TerminalError):
    """A command cannot do what it was asked to; the message says why."""


class WrongUsageError(TerminalError):
    """The command line, or a variable that stands for a part of it, is wrong."""


class NoStoreError(TransientError):
    """There is no store where one was looked for."""


class RouterUnavailableError(TransientError):
    """No router answers at the URL."""


def exit_code_of(error: WorldError, /) -> int:
    """The exit code of a command that ends with `error`."""
    from botshard.store.base import StoreUnavailableError

    if isinstance(error, WrongUsageError):
        return EXIT_USAGE
    if isinstance(error, NoStoreError | RouterUnavailableError | StoreUnavailableError):
        return EXIT_UNREACHABLE
    return EXIT_REFUSED


def error_lines(error: WorldError, /) -> list[str]:
    """What a person is told: the error, a line for each of its problems, and what was noted on its way up."""
    lines = str(error).splitlines() or [type(error).__name__]
    notes = getattr(error, "__notes__", [])
    return [f"botshard: {lines[0]}", *(f"  {line}" for line in [*lines[1:], *notes])]
