"""Lists of words and labels: inline in the declaration, or a text file of the artifact with one a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from botshard.processing.parameters import Reads

__all__ = ["MAX_TERMS", "FileRef", "Terms", "parse_terms"]

MAX_TERMS: Final = 1_000_000
"""A dictionary of more words than that takes over 100 MB in every replica that holds the bot."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file of the artifact, by its relative path."""

    file: str


def _inline_or_file(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) != {"file"} or not isinstance(value["file"], str):
            raise ValueError("a list of texts, or {file: NAME}")
        return FileRef(value["file"])
    if isinstance(value, list | tuple):
        if not value or not all(isinstance(item, str) and item for item in value):
            raise ValueError("a list of texts, none empty (numbers and words like yes need quotes)")
        if len(value) != len(set(value)):
            raise ValueError("a list without repetitions")
        return tuple(value)
    raise ValueError("a list of texts, or {file: NAME}")


Terms = Annotated[tuple[str, ...] | FileRef, Reads(_inline_or_file)]
"""The type of a parameter that takes such a list."""


def parse_terms(data: bytes, /) -> tuple[str, ...]:
    r"""The lines of a file: UTF-8, ends of lines `\n` or `\r\n`, none empty, none twice.

    Raises: ValueError that says what would be right.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"a file of UTF-8 text (byte {error.start} is not)") from error
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if not all(lines):
        raise ValueError(f"a file with a text on every line (line {lines.index('') + 1} is empty)")
    if len(lines) > MAX_TERMS:
        raise ValueError(f"a file of at most {MAX_TERMS} lines")
    if len(set(lines)) != len(lines):
        seen: set[str] = set()
        for number, line in enumerate(lines, 1):
            if line in seen:
                raise ValueError(f"a file without repetitions (line {number} is there before)")
            seen.add(line)
    return tuple(lines)
