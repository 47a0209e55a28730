"""Answers in bytes: the status line, the date, the head of an answer whose body is known."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple

__all__ = ["CONTINUE", "JSON", "Answer", "Clock", "bodiless", "head_of", "line", "status_line"]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON: Final = b"content-type: application/json\r\n"


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    lines: bytes
    """Header lines, each with its line end; without length, date and connection."""
    body: bytes


def line(name: bytes, value: bytes, /) -> bytes:
    """One header line; for values that are ours or came in a header."""
    return b"%b: %b\r\n" % (name, value)


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


_STATUS_LINES: Final = {status: _status_line(status) for status in range(200, 600)}


def status_line(status: int, /) -> bytes:
    """The first line of an answer."""
    return _STATUS_LINES.get(status) or _status_line(status)


def bodiless(status: int, /) -> bool:
    """Whether an answer of this status has neither body nor length."""
    return status in {204, 304}


class Clock:
    """The `Date` line, written once a second at most and only when it is asked for."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def date_line(self) -> bytes:
        """The line of this second."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._line = f"date: {formatdate(now, usegmt=True)}\r\n".encode()
        return self._line


def head_of(answer: Answer, date: bytes, connection: bytes, /) -> bytes:
    """The head of an answer; `connection` is a header line or nothing."""
    status, lines, body = answer
    start = _STATUS_LINES.get(status) or _status_line(status)
    if status == 204 or status == 304:  # noqa: PLR1714 - this way it costs nothing
        return b"%b%b%b%b\r\n" % (start, lines, date, connection)
    return b"%b%b%bcontent-length: %d\r\n%b\r\n" % (start, lines, date, len(body), connection)
