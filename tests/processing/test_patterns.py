"""Regular expressions: linear time, bounded memory, and refusals that say where."""

from __future__ import annotations

import time

import pytest

from botshard.processing.patterns import MAX_PATTERN_CHARS, PATTERN_MEMORY_BYTES, compile_pattern
from tests.processing.running import post_problems, problems, texts_after


@pytest.mark.parametrize(
    ("pattern", "position", "reason"),
    [
        pytest.param("(?=a)", 0, "no look-around", id="lookahead first"),
        pytest.param("ab(?=c)", 2, "no look-around", id="lookahead"),
        pytest.param("ab(?!c)", 2, "no look-around", id="negative lookahead"),
        pytest.param("(?<=a)b", 0, "no look-around", id="lookbehind"),
        pytest.param("[(?=]é(?=x)", 6, "no look-around", id="after the same in a class"),
        pytest.param(r"(a)\1", 3, "no back-references", id="back-reference"),
        pytest.param(r"\\1(a)\1", 6, "no back-references", id="after an escaped backslash"),
        pytest.param("(?P<n>a)(?P=n)", 8, "no back-references", id="named back-reference"),
        pytest.param("x(?>a)", 1, "no atomic groups", id="atomic group"),
        pytest.param("xa++", 2, "no possessive repetition", id="possessive"),
        pytest.param("xa**", 2, "bad repetition operator", id="doubled star"),
        pytest.param("xa{1001}", 2, "up to 1000", id="too many"),
        pytest.param("((a{100}){100}){100}", 9, "up to 1000", id="too many nested"),
        pytest.param("é[a", 1, "missing ]", id="open class"),
        pytest.param("a(b(c)", 1, "missing )", id="open group"),
        pytest.param(r"a[(]\((b", 6, "missing )", id="open group after others"),
        pytest.param("a)b(", 1, "unexpected )", id="closed too often"),
        pytest.param("[]()]a)", 6, "unexpected )", id="closed too often after a class"),
        pytest.param("abc\\", 3, "trailing", id="backslash at the end"),
        pytest.param("[z-a]", 1, "invalid character class range", id="class backwards"),
        pytest.param(r"a\Z", 1, r"write \z", id="end of Python"),
        pytest.param(r"ab\q", 2, "invalid escape sequence", id="escape"),
        pytest.param("a(?P<n", 1, "invalid named capture group", id="half a name"),
        pytest.param("*a", 0, "no argument for repetition", id="nothing to repeat"),
    ],
)
def test_what_re2_refuses_is_refused_with_its_position(pattern: str, position: int, reason: str) -> None:
    """The problem names field, pattern, position and reason."""
    (problem,) = post_problems([_label(), {"step": "regex-rule", "pattern": pattern, "label": "x"}])
    assert problem.startswith("postprocess[1].pattern: must be a pattern that RE2 accepts; ")
    assert f"at position {position} {pattern[position : position + 8]!r}: " in problem
    assert reason in problem
    assert problem.endswith(f"found {pattern!r}")


@pytest.mark.parametrize("step", ["regex-replace", "regex-extract"])
def test_every_step_with_a_pattern_refuses_alike(step: str) -> None:
    """A bad pattern is one problem, not followed by problems with its groups."""
    declared: dict[str, object] = {"step": step, "pattern": "(?=a)(b)"}
    declared |= {"with": r"\1"} if step == "regex-replace" else {"group": 1}
    (problem,) = problems([declared])
    assert problem.startswith("preprocess[0].pattern: must be a pattern that RE2 accepts; at position 0")


def test_a_pattern_that_takes_too_much_memory_is_refused() -> None:
    """A program beyond the bound is refused, and the bound is named."""
    _, problem = compile_pattern(r"(\pL{100}\pN{100}){9}", "p")
    assert problem is not None
    assert problem.expected.startswith(f"a pattern whose program takes less than {PATTERN_MEMORY_BYTES >> 20} MiB")


def test_a_pattern_that_is_too_long_is_refused() -> None:
    """Length is bounded, and the found value is shortened."""
    _, problem = compile_pattern("a" * (MAX_PATTERN_CHARS + 1), "p")
    assert problem is not None
    assert str(problem).startswith("p: must be a pattern of at most 4096 characters, found 'aaa")
    assert len(str(problem)) < 200


def test_half_a_surrogate_pair_is_refused() -> None:
    """A pattern that is no Unicode text does not break the check."""
    _, problem = compile_pattern("\ud800", "p")
    assert problem is not None
    assert problem.expected == "text that is valid Unicode"


@pytest.mark.parametrize(
    "pattern",
    [r"^(a+)+$", r"(a|aa)+$", r"(a*)*b", r"(.*a){20}", r"^(([a-z])+.)+[A-Z]([a-z])+$"],
)
def test_patterns_that_would_stop_a_backtracking_engine_are_harmless(pattern: str) -> None:
    """Patterns that take a backtracking engine for ever run in linear time on the longest text."""
    step = {"step": "regex-extract", "pattern": pattern, "otherwise": "keep"}
    text = "a" * 16_000 + "!"
    begin_s = time.perf_counter()
    assert texts_after([step], [text])
    assert time.perf_counter() - begin_s < 2


def test_the_worst_replacement_is_bounded_by_the_length_of_texts() -> None:
    """A pattern that looks at the whole rest of the text from every place still ends soon."""
    step = {"step": "regex-replace", "pattern": "(a*b)?", "with": ""}
    begin_s = time.perf_counter()
    assert texts_after([step], ["a" * 16_384]) == ["a" * 16_384]
    assert time.perf_counter() - begin_s < 10


def _label() -> dict[str, object]:
    return {"step": "label", "labels": ["x", "y"]}
