"""The step `vocabulary`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.processing.running import features, problems

_TERMS = ["good", "bad", "very good"]


@pytest.mark.parametrize(
    ("parameters", "text", "wanted"),
    [
        pytest.param({}, "good bad good x", [2, 1, 0], id="counts"),
        pytest.param({"weights": "binary"}, "good bad good", [1, 1, 0], id="binary"),
        pytest.param({"weights": "frequency"}, "good bad good bad", [0.5, 0.5, 0], id="frequency"),
        pytest.param({"words": [1, 2]}, "very good", [1, 0, 1], id="terms of two words"),
        pytest.param({"words": [2, 2]}, "very good", [0, 0, 1], id="only terms of two words"),
        pytest.param({"idf": [0.5, 2, 1]}, "good bad good", [1, 2, 0], id="idf"),
        pytest.param({}, "", [0, 0, 0], id="empty"),
    ],
)
def test_terms_are_counted(parameters: dict[str, object], text: str, wanted: list[float]) -> None:
    """One feature a term, weighed as declared."""
    found = features({"step": "vocabulary", "terms": _TERMS, "norm": "none", **parameters}, [text])
    assert found.dtype == np.float32
    assert found.tolist() == [wanted]


def test_rows_have_length_one() -> None:
    """The l2 norm is the default; a row without terms stays zeros."""
    found = features({"step": "vocabulary", "terms": _TERMS}, ["good good bad", "x"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0], rtol=1e-6)


def test_terms_may_stand_in_a_file(tmp_path: Path) -> None:
    """A file gives the terms that the list would, whatever its ends of lines."""
    (tmp_path / "terms.txt").write_bytes(b"good\r\nbad\r\nvery good\r\n")
    step = {"step": "vocabulary", "terms": {"file": "terms.txt"}}
    inline = {"step": "vocabulary", "terms": _TERMS}
    np.testing.assert_array_equal(features(step, ["good bad"], folder=tmp_path), features(inline, ["good bad"]))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        pytest.param(b"a\n\nb\n", "a file with a text on every line (line 2 is empty)", id="empty line"),
        pytest.param(b"", "a file with a text on every line (line 1 is empty)", id="empty file"),
        pytest.param(b"a\nb\na\n", "a file without repetitions (line 3 is there before)", id="twice"),
        pytest.param(b"a\n\xff\n", "a file of UTF-8 text (byte 2 is not)", id="not UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(data: bytes, wanted: str) -> None:
    """The line or byte that is wrong is named."""
    (problem,) = problems([{"step": "vocabulary", "terms": {"file": "t.txt"}}], files={"t.txt": data})
    assert problem == f"preprocess[0].terms.file: must be {wanted}, found 't.txt'"


@pytest.mark.parametrize("name", ["gone.txt", "../t.txt", "/etc/passwd", "a\\t.txt"])
def test_a_file_outside_the_folder_is_refused(name: str) -> None:
    """Only files of the bot's own folder are read."""
    files = {"t.txt": b"a", "../t.txt": b"a", "/etc/passwd": b"a", "a\\t.txt": b"a"}
    (problem,) = problems([{"step": "vocabulary", "terms": {"file": name}}], files=files)
    assert problem.startswith("preprocess[0].terms.file: must be a ")


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        pytest.param({"terms": []}, "terms: must be a list of texts, none empty", id="no terms"),
        pytest.param({"terms": ["a", ""]}, "terms: must be a list of texts, none empty", id="empty term"),
        pytest.param({"terms": ["a", 1]}, "terms: must be a list of texts, none empty", id="number"),
        pytest.param({"terms": ["a", "a"]}, "terms: must be a list without repetitions", id="twice"),
        pytest.param({"terms": "a"}, "terms: must be a list of texts, or {file: NAME}", id="text"),
        pytest.param({"terms": {"path": "a"}}, "terms: must be a list of texts, or {file: NAME}", id="other key"),
        pytest.param({"terms": ["a"], "idf": [1, 2]}, "idf: must be one number for each of the 1 terms", id="idf"),
        pytest.param({"terms": ["a"], "idf": [float("inf")]}, "idf[0]: must be a finite number", id="infinite idf"),
        pytest.param({"terms": ["a"], "idf": 3}, "idf: must be a list", id="idf number"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], wanted: str) -> None:
    """Each mistake names its parameter."""
    (problem,) = problems([{"step": "vocabulary", **parameters}])
    assert wanted in problem
