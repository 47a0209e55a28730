"""Regular expressions in linear time: RE2, with a bound on memory, and errors that say where.

A backtracking engine lets one pattern of one bot, met by one unlucky text, stop a whole pool. RE2 never looks at a
character more than a constant number of times; in turn it has no look-around and no back-references. Those are found
when a bot is published.
"""

from __future__ import annotations

from typing import Any, Final

import re2

from botshard.sharding.errors import Problem

__all__ = ["MAX_PATTERN_CHARS", "PATTERN_MEMORY_BYTES", "compile_pattern", "compile_replacement", "is_refused"]

MAX_PATTERN_CHARS: Final = 4096
"""Longer patterns are refused: nobody reads them, and a word list is a vocabulary."""
PATTERN_MEMORY_BYTES: Final = 1 << 20
"""Program and automaton of one pattern; thousands of bots with some patterns each share a process. A pattern whose
program does not fit is refused; an automaton that outgrows it is thrown away and built anew, which stays linear."""

_NEVER: Final = r"[^\x00-\x{10FFFF}]"
_LOOKAROUND: Final = "RE2 has no look-around: match what stands around as well and take a group"
_REASONS: Final[tuple[tuple[str, str], ...]] = (
    ("(?=", _LOOKAROUND),
    ("(?!", _LOOKAROUND),
    ("(?<=", _LOOKAROUND),
    ("(?<!", _LOOKAROUND),
    ("(?>", "RE2 has no atomic groups and needs none: it never backtracks"),
    ("(?P=", "RE2 has no back-references"),
    ("(?#", "RE2 has no comments"),
    ("\\Z", "write \\z for the end of the text"),
)


def compile_pattern(pattern: str, field: str) -> tuple[Any, Problem | None]:
    """The compiled pattern, or one that matches nothing and the problem with what was wanted."""
    if len(pattern) > MAX_PATTERN_CHARS:
        return _compile(_NEVER), Problem.of(field, pattern, f"a pattern of at most {MAX_PATTERN_CHARS} characters")
    try:
        return _compile(pattern), None
    except (re2.error, UnicodeEncodeError) as error:
        return _compile(_NEVER), Problem.of(field, pattern, _expected(pattern, _message(error)))


def compile_replacement(template: str, pattern: Any, field: str) -> tuple[tuple[str | int, ...], Problem | None]:
    r"""The template's pieces, text and group numbers, and what is wrong with it.

    `\0` is the whole match, `\1` to `\9` and `\g<name>` are groups, `\\` is a backslash; all else stands for itself.
    """
    pieces: list[str | int] = []
    rest = template
    while rest:
        text, backslash, rest = rest.partition("\\")
        if text:
            pieces.append(text)
        if not backslash:
            break
        piece, length = _reference(rest, pattern)
        if piece is None:
            position = len(template) - len(rest) - 1
            expected = (
                f"a replacement whose references are groups of the pattern; at position {position} "
                rf"{rest[:12]!r} follows a backslash (known are \0 to \{pattern.groups}, \g<name> and \\)"
            )
            return (), Problem.of(field, template, expected)
        pieces.append(piece)
        rest = rest[length:]
    return tuple(pieces), None


def _reference(rest: str, pattern: Any) -> tuple[str | int | None, int]:
    """What follows a backslash: text or a group's number, None if neither, and how long it is."""
    if rest[:1] == "\\":
        return "\\", 1
    if rest[:1].isdecimal() and rest[:1].isascii():
        number = int(rest[0])
        return (number if number <= pattern.groups else None), 1
    name, closing, _ = rest[2:].partition(">")
    if rest[:2] == "g<" and closing:
        return pattern.groupindex.get(name), len(name) + 3
    return None, 0


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False  # RE2 would write to stderr
    options.max_mem = PATTERN_MEMORY_BYTES
    return re2.compile(pattern, options)


def is_refused(pattern: Any, /) -> bool:
    """True for the stand-in of a pattern that was refused: whatever depends on its groups cannot be checked."""
    return bool(pattern.pattern == _NEVER)


def _message(error: Exception) -> str:
    message = error.args[0] if error.args else ""
    return message.decode(errors="replace") if isinstance(message, bytes) else str(error)


def _expected(pattern: str, message: str) -> str:
    kind, _, fragment = message.partition(": ")
    if kind.startswith("pattern too large"):
        return f"a pattern whose program takes less than {PATTERN_MEMORY_BYTES >> 20} MiB (smaller repetitions)"
    if "surrogates" in message:
        return "text that is valid Unicode"
    position = _position(pattern, kind, fragment, message)
    if position is None:
        return f"a pattern that RE2 accepts ({message})"
    reason = _reason(pattern, position, kind)
    return f"a pattern that RE2 accepts; at position {position} {pattern[position : position + 8]!r}: {reason}"


def _reason(pattern: str, position: int, kind: str) -> str:
    tail = pattern[position:]
    for start, reason in _REASONS:
        if tail.startswith(start):
            return reason
    if kind == "invalid escape sequence" and tail[1:2].isdecimal():
        return "RE2 has no back-references"
    if kind == "bad repetition operator" and tail[1:2] == "+":
        return "RE2 has no possessive repetition and needs none: it never backtracks"
    if kind == "invalid repetition size":
        return "repetitions, multiplied where they are nested, go up to 1000"
    return kind


def _position(pattern: str, kind: str, fragment: str, message: str) -> int | None:
    """Where the fragment that RE2 complains about begins, in characters from 0; None where it does not say."""
    if kind == "trailing \\":
        return len(pattern) - 1
    if kind == "missing )":
        return _unbalanced(pattern, last_open=True)
    if kind == "unexpected )":
        return _unbalanced(pattern, last_open=False)
    start = pattern.find(fragment) if fragment else -1
    while start >= 0:
        # The fragment may stand earlier where it is harmless, in a character class say: then the pattern up to its next
        # place does not fail in this way, as RE2 reads from left to right.
        following = pattern.find(fragment, start + 1)
        if following < 0 or _fails_with(pattern[:following], message):
            return start
        start = following
    return None


def _fails_with(pattern: str, message: str) -> bool:
    try:
        _compile(pattern)
    except re2.error as error:
        return _message(error) == message
    return False


def _unbalanced(pattern: str, *, last_open: bool) -> int | None:
    """The last `(` that nothing closes, or the first `)` that closes nothing."""
    opened: list[int] = []
    index = 0
    in_class = False
    while index < len(pattern):
        character = pattern[index]
        if character == "\\":
            index += 1
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            index += 1 if pattern[index + 1 : index + 2] == "]" else 0
        elif character == "(":
            opened.append(index)
        elif character == ")":
            if not opened:
                return index
            opened.pop()
        index += 1
    return opened[-1] if opened and last_open else None
