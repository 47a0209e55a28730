"""The step `regex-extract`."""

from __future__ import annotations

import pytest

from tests.processing.running import problems, texts_after


@pytest.mark.parametrize(
    ("parameters", "text", "wanted"),
    [
        pytest.param({"pattern": r"\d+"}, "call 12 or 34", "12", id="first match"),
        pytest.param({"pattern": r"id=(\w+)", "group": 1}, "x id=7a y", "7a", id="group by number"),
        pytest.param({"pattern": r"id=(?P<id>\w+)", "group": "id"}, "id=7", "7", id="group by name"),
        pytest.param({"pattern": r"\d+"}, "none", "none", id="kept without match"),
        pytest.param({"pattern": r"\d+", "otherwise": "empty"}, "none", "", id="emptied without match"),
        pytest.param({"pattern": r"a|(b)", "group": 1, "otherwise": "empty"}, "a", "", id="group without match"),
        pytest.param({"pattern": r"é+"}, "caféé", "éé", id="beyond ASCII"),
    ],
)
def test_the_first_match_is_kept(parameters: dict[str, object], text: str, wanted: str) -> None:
    """Of a text the match or its group is kept; where there is none, what is declared."""
    assert texts_after([{"step": "regex-extract", **parameters}], [text]) == [wanted]


@pytest.mark.parametrize("group", [2, -1, "name"])
def test_a_group_that_is_not_there_is_refused(group: object) -> None:
    """Groups that the pattern has are named in the refusal."""
    (problem,) = problems([{"step": "regex-extract", "pattern": "(?P<id>a)", "group": group}])
    assert problem == f"preprocess[0].group: must be a group of the pattern: 0 to 1, id, found {group!r}"
