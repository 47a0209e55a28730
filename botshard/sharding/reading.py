"""Reading a decoded JSON document field by field, collecting every problem instead of stopping at the first.

`Reader` knows the path of what it reads, so each problem names its field; a reader that has met a problem goes on with
a value of the right type, and `finish` raises when there was any.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from botshard.sharding.errors import InvalidDocumentError, Problem

__all__ = ["Reader", "parse_json"]

_MAX_PROBLEMS = 50  # a document that is wrong everywhere is not the more readable for it
_MAX_NUMBER = 1e300  # a whole number of JSON can be too large for a float
_SHOWN_KEY_CHARS = 128


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return keys


def parse_json(data: bytes, document: str, /) -> object:
    """`data` as strict JSON (UTF-8, no NaN, no key twice).

    Raises: InvalidDocumentError.
    """
    try:
        parsed: object = json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        found = f"{len(data)} bytes ({error})"
        raise InvalidDocumentError(document, [Problem("", found, "one JSON object in UTF-8, whole")]) from error
    return parsed


@dataclass(slots=True)
class Reader:
    """One JSON object on its way to becoming a value of ours."""

    value: Mapping[str, object]
    path: str = ""
    problems: list[Problem] = field(default_factory=list)
    """Shared by all readers of one document."""

    @classmethod
    def of(cls, document: object, name: str, /) -> Reader:
        """A reader of the document's top level.

        Raises: InvalidDocumentError if that is no object.
        """
        if not isinstance(document, dict):
            raise InvalidDocumentError(name, [Problem.of("", document, "an object")])
        return cls(document)

    def at(self, key: str) -> str:
        """Path of a field of this object, fit for one line of a log whatever the key holds."""
        shown = (key if key.isprintable() else ascii(key))[:_SHOWN_KEY_CHARS]
        return f"{self.path}.{shown}" if self.path else shown

    def refuse(self, key: str, value: object, expected: str) -> None:
        """Note a problem with a field of this object."""
        self.note(Problem.of(self.at(key), value, expected))

    def note(self, problem: Problem | None) -> bool:
        """Keep a problem; True where there is none."""
        if problem is None:
            return True
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)
        return False

    def only(self, *known: str) -> None:
        """Refuse fields that are not known: a misspelt one would silently not be applied."""
        for key in self.value:
            if key not in known:
                self.refuse(key, self.value[key], f"one of the fields {', '.join(known)}")

    def text(self, key: str, /, check: Callable[[object, str], Problem | None] | None = None) -> str:
        """A text, checked; empty after a problem."""
        value = self.value.get(key)
        if check is not None:
            # Most values are right: the path of one is made up only where it has to be named.
            if check(value, key) is None:
                return str(value)
            self.note(check(value, self.at(key)))
            return ""
        if isinstance(value, str):
            return value
        self.refuse(key, value, "a text")
        return ""

    def optional_text(self, key: str, /, check: Callable[[object, str], Problem | None] | None = None) -> str | None:
        """A text, or None where it is absent or null."""
        return None if self.value.get(key) is None else self.text(key, check)

    def integer(self, key: str, /, *, at_least: int = 0, at_most: int = 2**63 - 1) -> int:
        """A whole number within bounds; `at_least` after a problem."""
        value = self.value.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and at_least <= value <= at_most:
            return value
        self.refuse(key, value, f"a whole number from {at_least} to {at_most}")
        return at_least

    def number(self, key: str, /, *, at_least: float = 0.0) -> float:
        """A finite number that is not smaller than `at_least`, which it is after a problem."""
        value = self.value.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and at_least <= value <= _MAX_NUMBER:
            return float(value)
        self.refuse(key, value, f"a number of at least {at_least:g}")
        return at_least

    def boolean(self, key: str, /, *, default: bool | None = None) -> bool:
        """True or false; `default` where it is absent and there is one."""
        value = self.value.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool):
            return value
        self.refuse(key, value, "true or false")
        return False

    def items(self, key: str, /) -> list[object]:
        """A list; empty after a problem."""
        value = self.value.get(key)
        if isinstance(value, list):
            return value
        self.refuse(key, value, "a list")
        return []

    def objects(self, key: str, /) -> Iterator[Reader]:
        """A reader of each item of a list of objects."""
        for index, item in enumerate(self.items(key)):
            path = f"{self.at(key)}[{index}]"
            if isinstance(item, dict):
                yield Reader(item, path, self.problems)
            else:
                self.note(Problem.of(path, item, "an object"))

    def inner(self, key: str, /) -> Reader:
        """An object below this one; an empty one after a problem."""
        value = self.value.get(key)
        if not isinstance(value, dict):
            self.refuse(key, value, "an object")
            value = {}
        return Reader(value, self.at(key), self.problems)

    def members(self, key: str, /) -> Iterator[tuple[str, Reader]]:
        """Name and reader of each member of an object of objects."""
        members = self.inner(key)
        for name in members.value:
            yield name, members.inner(name)

    def finish(self, document: str, /) -> None:
        """Raises: InvalidDocumentError with all problems, if there was any."""
        if self.problems:
            raise InvalidDocumentError(document, self.problems)
