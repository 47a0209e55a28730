"""One event is one line, for people and for machines."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.logs import configure_logs, fields

_log = logging.getLogger("tests.logs")
_NASTY = [
    "line\nfeed",
    "carriage\rreturn",
    "\x1b[31mred",
    "next\x85line",
    "\u2028",
    'a "quoted" word',
    "a=b",
    "",
    "ü ⏎",
]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What a test configures ends with it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "kserve", "kserve.trace"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def _fail(why: str) -> None:
    raise ValueError(why)


def _lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def _logs(*, as_json: bool, level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    configure_logs("front", as_json=as_json, level=level, stream=stream)
    return stream


def test_text_has_clock_level_component_event_and_fields() -> None:
    """In this order; numbers are short, what needs quotes has them."""
    stream = _logs(as_json=False)
    _log.info("pool woken", extra=fields(pool="rt", took_s=0.123456, why="a b", empty=""))
    line = _lines(stream)[0]
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d\.\d{3} I front      pool woken pool=rt took_s=0\.1235 why="a b" empty=""', line
    )


@pytest.mark.parametrize("text", _NASTY)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "JSON"])
def test_an_event_is_one_line(*, text: str, as_json: bool) -> None:
    """Whatever stands in the sentence, in a field or in an error; a terminal is sent nothing that moves its cursor."""
    stream = _logs(as_json=as_json)
    _log.info("said " + text, extra=fields(value=text, error=ValueError(text)))
    assert stream.getvalue().count("\n") == 1
    assert len(_lines(stream)) == 1 or as_json  # JSON may hold a separator that is none of JSON's
    line = stream.getvalue()[:-1]
    if as_json:
        document = json.loads(line)
        assert (document["event"], document["value"], document["error"]) == ("said " + text, text, text)
    else:
        assert line.isprintable()


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_survives_json_and_breaks_no_line(sentence: str, value: str) -> None:
    """The value comes back exactly."""
    stream = _logs(as_json=True)
    _log.info("%s", sentence, extra=fields(value=value))
    document = _parsed(stream)
    assert (document["event"], document["value"]) == (sentence, value)
    stream = _logs(as_json=False)
    _log.info("%s", sentence, extra=fields(value=value))
    assert stream.getvalue()[:-1].isprintable()


def _parsed(stream: io.StringIO) -> dict[str, Any]:
    def refuse(name: str) -> object:
        raise AssertionError(f"{name} is not JSON")

    text = stream.getvalue()
    assert text.count("\n") == 1
    document: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return document


def test_json_has_what_text_has() -> None:
    """Time in UTC, level, component, event, then the fields with their types."""
    stream = _logs(as_json=True)
    _log.warning("program lost", extra=fields(program="router", again_in_s=0.5, count=3, pools=["a"], path=None))
    document = _parsed(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document.pop("at"))
    assert document == {
        "level": "warning",
        "component": "front",
        "event": "program lost",
        "program": "router",
        "again_in_s": 0.5,
        "count": 3,
        "pools": ["a"],
        "path": None,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_know_are_texts(value: float) -> None:
    """A strict reader reads every line."""
    stream = _logs(as_json=True)
    _log.info("odd", extra=fields(value=value))
    assert _parsed(stream)["value"] == str(value)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "JSON"])
def test_an_error_is_a_field(*, as_json: bool) -> None:
    """With its class; the traceback only where the event itself is an error."""
    stream = _logs(as_json=as_json)
    try:
        _fail("no\nway")
    except ValueError:
        _log.warning("tried", exc_info=True)
        warned = stream.getvalue()
        _log.exception("failed")
        failed = stream.getvalue()[len(warned) :]
    assert warned.count("\n") == 1
    assert "Traceback" not in warned
    assert "Traceback" in failed
    if as_json:
        assert json.loads(warned)["error"] == "ValueError: no\nway"
        document = json.loads(failed)
        assert document["error"] == "ValueError: no\nway"
        assert document["traceback"].startswith("Traceback")
        assert failed.count("\n") == 1
    else:
        assert r'error="ValueError: no\nway"' in warned
        assert r'error="ValueError: no\nway"' in failed.splitlines()[0]


def test_an_error_that_was_given_as_a_field_stays() -> None:
    """It is more telling than the one that is being handled."""
    stream = _logs(as_json=True)
    try:
        _fail("inner")
    except ValueError:
        _log.warning("tried", exc_info=True, extra=fields(error="the store is away"))
    assert _parsed(stream)["error"] == "the store is away"


def test_the_level_holds_for_ours_and_libraries_say_only_what_matters() -> None:
    """What a web server tells of each request is not told; its warnings are, in our form."""
    stream = _logs(as_json=True, level="INFO")
    _log.debug("not told")
    logging.getLogger("uvicorn.access").info("GET / 200")
    logging.getLogger("uvicorn.error").warning("something odd")
    assert _parsed(stream)["event"] == "something odd"


def test_configuring_again_replaces() -> None:
    """Each event is told once, in the newer form."""
    first = _logs(as_json=False)
    second = _logs(as_json=True)
    _log.info("once")
    assert first.getvalue() == ""
    assert _parsed(second)["event"] == "once"
