"""A file of settings, one `NAME=value` a line: what a reload can read again, unlike the environment of a process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from botshard.sharding.errors import InvalidDocumentError, Problem

__all__ = ["parse_env_file", "read_env_file"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTES: Final = ("'", '"')


def read_env_file(path: Path, /) -> dict[str, str]:
    """What the file sets.

    Raises: InvalidDocumentError where it cannot be read, or a line is neither a setting, a comment nor empty.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDocumentError(str(path), [Problem.of("", str(error), "a file of lines NAME=value")]) from error
    return parse_env_file(text, str(path))


def parse_env_file(text: str, document: str, /) -> dict[str, str]:
    """What the lines set; a value may stand in quotes. The last line of a name counts.

    Raises: InvalidDocumentError.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        name, equals, value = said.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not _NAME.fullmatch(name) or "\0" in value:
            # The line itself may hold a secret.
            problems.append(Problem.of(f"line {number}", "a line that is not shown", "NAME=value, or # and a comment"))
            continue
        if len(value) > 1 and value[0] in _QUOTES and value[-1] == value[0]:
            value = value[1:-1]
        found[name] = value
    if problems:
        raise InvalidDocumentError(document, problems)
    return found
