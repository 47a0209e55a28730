"""Settings from environment variables: every problem is told, none alone, and nothing that is secret."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from botshard.environ import EnvironReader
from botshard.sharding.errors import InvalidDocumentError


def _read(text: str | None, read: Callable[[EnvironReader], object]) -> tuple[object, list[str]]:
    """What comes of one variable, and the problems with it."""
    reader = EnvironReader({} if text is None else {"X": text})
    return read(reader), [str(problem) for problem in reader.problems]


def _integer(reader: EnvironReader) -> object:
    return reader.integer("X", 7, at_least=1, at_most=9)


def _seconds(reader: EnvironReader) -> object:
    return reader.seconds("X", 2.5, at_least=0.5, at_most=60)


def _choice(reader: EnvironReader) -> object:
    return reader.choice("X", ("DEBUG", "INFO"), "INFO")


def _boolean(reader: EnvironReader) -> object:
    return reader.boolean("X", default=True)


def _bytes(reader: EnvironReader) -> object:
    return reader.bytes("X", 5)


def _fd(reader: EnvironReader) -> object:
    return reader.fd("X")


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (_integer, None, 7),
        (_integer, "", 7),
        (_integer, "  ", 7),
        (_integer, " 9 ", 9),
        (_integer, "1", 1),
        (_seconds, None, 2.5),
        (_seconds, "0.5", 0.5),
        (_seconds, "60", 60.0),
        (_choice, None, "INFO"),
        (_choice, "debug", "DEBUG"),
        (_boolean, None, True),
        (_boolean, "False", False),
        (_boolean, "true", True),
        (_bytes, None, 5),
        (_bytes, "16Mi", 16 << 20),
        (_bytes, "0", 0),
        (_fd, None, None),
        (_fd, "", None),
        (_fd, "0", 0),
        (_fd, "12", 12),
        (lambda reader: reader.text("X", "there"), None, "there"),
        (lambda reader: reader.text("X", "there"), " here ", "here"),
        (lambda reader: reader.required("X", "a name"), "given", "given"),
        (lambda reader: reader.parsed("X", str.upper, "D", "a text"), "up", "UP"),
    ],
)
def test_what_is_right_is_read(read: Callable[[EnvironReader], object], text: str | None, value: object) -> None:
    """An empty variable counts as unset; blanks around a value are no part of it."""
    assert _read(text, read) == (value, [])


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (_integer, "0", "a whole number from 1 to 9"),
        (_integer, "10", "a whole number from 1 to 9"),
        (_integer, "2.5", "a whole number from 1 to 9"),
        (_integer, "many", "a whole number from 1 to 9"),
        (_seconds, "0.4", "seconds from 0.5 to 60"),
        (_seconds, "61", "seconds from 0.5 to 60"),
        (_seconds, "nan", "seconds from 0.5 to 60"),
        (_seconds, "inf", "seconds from 0.5 to 60"),
        (_seconds, "2s", "seconds from 0.5 to 60"),
        (_choice, "LOUD", "one of DEBUG, INFO"),
        (_boolean, "yes", "one of true, false"),
        (_bytes, "16 apples", "a number of bytes such as 16Mi"),
        (_bytes, "-1", "a number of bytes such as 16Mi"),
        (_fd, "-1", "a whole number from 0"),
        (_fd, "stdin", "a whole number from 0"),
        (lambda reader: reader.required("X", "a pool's name"), None, "a pool's name"),
        (lambda reader: reader.required("X", "a pool's name"), " ", "a pool's name"),
        (lambda reader: reader.parsed("X", float, 0.0, "a number"), "x", "a number"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(
    read: Callable[[EnvironReader], object], text: str | None, expected: str
) -> None:
    """With what would be right, and what was found."""
    _, problems = _read(text, read)
    assert len(problems) == 1
    assert problems[0].startswith("X")
    assert expected in problems[0]
    assert text is None or text.strip() in problems[0]


def test_all_problems_are_raised_together() -> None:
    """In the order of reading; without any, nothing is."""
    reader = EnvironReader({"A": "x", "B": "y", "C": "1"})
    for name in "ABC":
        reader.integer(name, 0, at_least=0, at_most=5)
    reader.refuse("D", None, "something")
    with pytest.raises(InvalidDocumentError) as refused:
        reader.finish("environment")
    assert refused.value.document == "environment"
    assert [problem.field for problem in refused.value.problems] == ["A", "B", "D"]
    EnvironReader({}).finish("environment")


def test_a_url_that_is_wrong_is_not_shown() -> None:
    """It may hold what nobody may see."""
    reader = EnvironReader({"STORE_URL": "s3://user:hidden@bots"})

    def refuse(_: str) -> str:
        raise ValueError

    reader.parsed("STORE_URL", refuse, "", "a URL without credentials")
    with pytest.raises(InvalidDocumentError) as refused:
        reader.finish("environment")
    assert "hidden" not in str(refused.value)
    assert "STORE_URL" in str(refused.value)
