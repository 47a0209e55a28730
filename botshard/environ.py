"""Reading a deployable's settings from environment variables: every problem is collected, none is raised alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.units import parse_bytes

__all__ = ["LIFELINE_FD", "LOG_FORMATS", "LOG_LEVELS", "EnvironReader"]

T = TypeVar("T")

LIFELINE_FD = "BOTSHARD_LIFELINE_FD"
"""Variable with the number of a pipe's read end: its end of file is the order to end. See `botshard.lifeline`."""
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_HIGHEST_FD = 1 << 20


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

    def parsed(self, name: str, parse: Callable[[str], T], default: T, expected: str) -> T:
        """What `parse` makes of the text; it raises ValueError where that is not `expected`."""
        text = self._text(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError:
            self.refuse(name, text, expected)
            return default

    def choice(self, name: str, options: tuple[str, ...], default: str) -> str:
        """One of `options`, whatever its case."""
        by_lower = {option.lower(): option for option in options}

        def parse(text: str) -> str:
            if text.lower() not in by_lower:
                raise ValueError(text)
            return by_lower[text.lower()]

        return self.parsed(name, parse, default, "one of " + ", ".join(options))

    def integer(self, name: str, default: int, *, at_least: int, at_most: int) -> int:
        """A whole number within bounds."""

        def parse(text: str) -> int:
            value = int(text)
            if not at_least <= value <= at_most:
                raise ValueError(text)
            return value

        return self.parsed(name, parse, default, f"a whole number from {at_least} to {at_most}")

    def fd(self, name: str) -> int | None:
        """Number of an inherited file descriptor, or None where the variable is unset."""
        value = self.integer(name, -1, at_least=0, at_most=_HIGHEST_FD)
        return value if value >= 0 else None

    def seconds(self, name: str, default: float, *, at_least: float, at_most: float) -> float:
        """A number of seconds within bounds."""

        def parse(text: str) -> float:
            value = float(text)
            if not at_least <= value <= at_most:
                raise ValueError(text)
            return value

        return self.parsed(name, parse, default, f"seconds from {at_least:g} to {at_most:g}")

    def bytes(self, name: str, default: int) -> int:
        """A number of bytes such as `16Mi`."""
        return self.parsed(name, parse_bytes, default, "a number of bytes such as 16Mi")

    def boolean(self, name: str, *, default: bool) -> bool:
        """`true` or `false`."""
        return self.choice(name, ("true", "false"), "true" if default else "false") == "true"

    def refuse(self, name: str, value: object, expected: str) -> None:
        """Note a problem with a variable. A URL may hold what nobody may see, so its value is not shown."""
        shown = "a URL (not shown)" if value is not None and name.endswith("_URL") else value
        self.problems.append(Problem.of(name, shown, expected))

    def finish(self, document: str) -> None:
        """Raises: InvalidDocumentError with all problems, if there was any."""
        if self.problems:
            raise InvalidDocumentError(document, self.problems)

    def _text(self, name: str) -> str:
        return self._environ.get(name, "").strip()
