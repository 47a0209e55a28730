"""Reading a deployable's settings from environment variables: every problem is collected, none is raised alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from botshard.sharding.errors import InvalidDocumentError, Problem

__all__ = ["LOG_FORMATS", "LOG_LEVELS", "EnvironReader"]

T = TypeVar("T")

LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class EnvironReader:
    """Reads variables one by one; `finish` raises when any was wrong. An empty variable counts as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[Problem] = []

    def required(self, name: str, expected: str) -> str:
        """A text that must be there; empty after a problem."""
        text = self._text(name)
        if not text:
            self.refuse(name, None, expected)
        return text

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        return self._text(name) or default

    def choice(self, name: str, options: tuple[str, ...], default: str) -> str:
        """One of `options`."""
        text = self._text(name) or default
        if text not in options:
            self.refuse(name, text, "one of " + ", ".join(options))
            return default
        return text

    def parsed(self, name: str, parse: Callable[[str], T], expected: str, default: T) -> T:
        """What `parse` makes of the text; it raises ValueError where that is not `expected`."""
        text = self._text(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError:
            self.refuse(name, text, expected)
            return default

    def integer(self, name: str, default: int, *, at_least: int = 0, at_most: int = 2**31 - 1) -> int:
        """A whole number within bounds."""

        def parse(text: str) -> int:
            value = int(text)
            if not at_least <= value <= at_most:
                raise ValueError(text)
            return value

        return self.parsed(name, parse, f"a whole number from {at_least} to {at_most}", default)

    def fd(self, name: str) -> int | None:
        """Number of an inherited file descriptor, or None where the variable is unset."""
        value = self.integer(name, -1)
        return value if value >= 0 else None

    def seconds(self, name: str, default: float, *, above: float = 0.0) -> float:
        """A number of seconds greater than `above`."""

        def parse(text: str) -> float:
            value = float(text)
            if not above < value < float("inf"):
                raise ValueError(text)
            return value

        return self.parsed(name, parse, f"a number of seconds over {above:g}", default)

    def refuse(self, name: str, value: object, expected: str) -> None:
        """Note a problem with a variable."""
        self.problems.append(Problem.of(name, value, expected))

    def finish(self, document: str) -> None:
        """Raises: InvalidDocumentError with all problems, if there was any."""
        if self.problems:
            raise InvalidDocumentError(document, self.problems)

    def _text(self, name: str) -> str:
        return self._environ.get(name, "").strip()
