"""Reading the parameters of one architecture, all problems at once.

Each reader takes one parameter by name and returns a value of the right type in any case, so that the caller reads
on; what was wrong is collected, and `problems()` adds the parameters that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeGuard

from botshard.bots.hints import known_names
from botshard.sharding.errors import Problem

__all__ = ["Parameters"]


class Parameters:
    """The mapping at `field`, read parameter by parameter."""

    def __init__(self, document: Mapping[object, object], /, field: str, *, ignored: Iterable[str] = ()) -> None:
        self._document = document
        self._field = field
        self._asked = set(ignored)
        self._problems: list[Problem] = []

    def problems(self) -> list[Problem]:
        """Every problem met so far, then one for each parameter that was never asked for."""
        unknown = [key for key in self._document if key not in self._asked]
        return self._problems + [
            Problem(f"{self._field}.{key}", "an unknown key", known_names(key, self._asked)) for key in unknown
        ]

    def count(self, name: str, /, *, most: int) -> int:
        """A whole number, 1 … `most`; required."""
        value = self._take(name)
        if _is_int(value) and 1 <= value <= most:
            return value
        self._refuse(name, value, f"a whole number from 1 to {most}")
        return 1

    def counts(self, name: str, /, *, at_least: int, at_most: int, most: int) -> tuple[int, ...]:
        """A list of `at_least` … `at_most` whole numbers, each 1 … `most`; required."""
        value = self._take(name)
        if not isinstance(value, Sequence) or isinstance(value, str) or not at_least <= len(value) <= at_most:
            self._refuse(name, value, f"a list of {at_least} to {at_most} whole numbers")
            return (1,) * at_least
        bad = [index for index, item in enumerate(value) if not (_is_int(item) and 1 <= item <= most)]
        for index in bad:
            self._refuse(f"{name}[{index}]", value[index], f"a whole number from 1 to {most}")
        return (1,) * at_least if bad else tuple(value)

    def choice(self, name: str, options: Sequence[str], /, *, default: str) -> str:
        """One of `options`."""
        value = self._take(name, default)
        if isinstance(value, str) and value in options:
            return value
        self._refuse(name, value, known_names(value, options))
        return default

    def flag(self, name: str, /, *, default: bool) -> bool:
        """True or false."""
        value = self._take(name, default)
        if isinstance(value, bool):
            return value
        self._refuse(name, value, "true or false")
        return default

    def index_or_none(self, name: str, /, *, below: int, default: int | None) -> int | None:
        """A whole number from 0 to `below` - 1, or null."""
        value = self._take(name, default)
        if value is None or (_is_int(value) and 0 <= value < below):
            return value
        self._refuse(name, value, f"a whole number from 0 to {below - 1}, or null")
        return default

    def _take(self, name: str, default: object = None) -> object:
        self._asked.add(name)
        return self._document.get(name, default)

    def _refuse(self, name: str, value: object, expected: str) -> None:
        self._problems.append(Problem.of(f"{self._field}.{name}", value, expected))


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
