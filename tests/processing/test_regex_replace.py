"""The step `regex-replace`."""

from __future__ import annotations

import pytest

from botshard.oip.errors import InvalidInputError
from tests.processing.running import problems, texts_after


@pytest.mark.parametrize(
    ("pattern", "replacement", "text", "wanted"),
    [
        pytest.param(r"\d+", "<n>", "call 12 or 345", "call <n> or <n>", id="every match"),
        pytest.param(r"x", "", "axbx", "ab", id="removed"),
        pytest.param(r"(\w+)@(\w+)", r"\2 at \1", "me@home", "home at me", id="groups"),
        pytest.param(r"(?P<who>\w+)!", r"\g<who>?", "you!", "you?", id="named group"),
        pytest.param(r"b", r"[\0]", "abc", "a[b]c", id="whole match"),
        pytest.param(r"(a)|(b)", r"<\2>", "ab", "<><b>", id="group without match"),
        pytest.param(r"/", r"\\", "a/b", r"a\b", id="backslash"),
        pytest.param(r"é", "ü", "café", "cafü", id="beyond ASCII"),
        pytest.param(r"a", "é\n", "a", "é\n", id="taken literally"),
        pytest.param(r"(?i)STOP", "go", "Stop stop", "go go", id="case"),
        pytest.param(r"x", "y", "abc", "abc", id="no match"),
    ],
)
def test_every_match_is_replaced(pattern: str, replacement: str, text: str, wanted: str) -> None:
    """All matches are replaced, references by their groups."""
    assert texts_after([{"step": "regex-replace", "pattern": pattern, "with": replacement}], [text]) == [wanted]


@pytest.mark.parametrize(
    ("replacement", "found"),
    [
        pytest.param(r"a\2", r"at position 1 '2' follows a backslash (known are \0 to \1, \g<name> and \\)", id="2"),
        pytest.param(r"\g<x>", "at position 0 'g<x>' follows", id="unknown name"),
        pytest.param(r"\n", "at position 0 'n' follows", id="escape"),
        pytest.param("ab\\", "at position 2 '' follows", id="at the end"),
    ],
)
def test_a_reference_to_no_group_is_refused(replacement: str, found: str) -> None:
    """A replacement that refers to what is not there is refused with its position."""
    (problem,) = problems([{"step": "regex-replace", "pattern": "(?P<n>a)", "with": replacement}])
    assert problem.startswith("preprocess[0].with: must be a replacement whose references are groups of the pattern")
    assert found in problem


def test_a_text_that_grows_without_end_is_refused() -> None:
    """Doubling a text again and again ends with the input's name, not with the memory."""
    double = {"step": "regex-replace", "pattern": "a", "with": "aaaaaaaa"}
    with pytest.raises(InvalidInputError, match="input 'text': the text of row 1 has"):
        texts_after([double] * 12, ["b", "a"])
