"""Names end up in URLs, file names and labels: what is let through, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from botshard.sharding.errors import Problem
from botshard.sharding.ids import (
    check_bot_id,
    check_framework,
    check_group_name,
    check_label,
    check_pool_name,
    check_tenant_id,
)

Check = Callable[[object, str], Problem | None]

GOOD: list[tuple[Check, list[str]]] = [
    (check_bot_id, ["a", "A.b_c-9", "x" * 128, "...", "-", "..a"]),
    (check_tenant_id, ["t", "T.1_2-3", "x" * 64]),
    (check_group_name, ["r", "non-realtime", "a" * 24, "a0"]),
    (check_framework, ["torch", "t", "a" * 12, "keras3"]),
    (check_label, ["minilm", "0", "A" * 63, "Mini.LM_v2-x"]),
    (check_pool_name, ["a", "realtime-torch-8f25fe36-02c31a", "a" * 53]),
]
BAD: list[tuple[Check, list[object]]] = [
    (check_bot_id, ["", ".", "..", "x" * 129, "a b", "a/b", "a\n", "é", "٣", None, 7, b"a", True]),
    (check_tenant_id, ["", ".", "..", "x" * 65, "a/b", "t\n", None]),
    (check_group_name, ["", "A", "0a", "a-", "-a", "a" * 25, "a_b", "a\n", None]),
    (check_framework, ["", "Torch", "3d", "a-b", "a" * 13, "t\n", None]),
    (check_label, ["", "-a", ".a", "_a", "a" * 64, "a\nb", "a\n", None]),
    (check_pool_name, ["", "0a", "a-", "A", "a" * 54, "a.b", "a\n", None]),
]


def _cases(table: list[tuple[Check, list[str]]] | list[tuple[Check, list[object]]]) -> list[object]:
    return [
        pytest.param(check, value, id=f"{check.__name__}-{str(value)[:20]!a}-{len(str(value))}")
        for check, values in table
        for value in values
    ]


@pytest.mark.parametrize(("check", "value"), _cases(GOOD))
def test_a_good_name_has_no_problem(check: Check, value: str) -> None:
    """What fits the alphabet and the length passes."""
    assert check(value, "here") is None


@pytest.mark.parametrize(("check", "value"), _cases(BAD))
def test_a_bad_name_is_a_problem_of_its_field(check: Check, value: object) -> None:
    """Everything else is refused with the field and what would be right."""
    problem = check(value, "bots[3].x")
    assert problem is not None
    assert problem.field == "bots[3].x"
    assert str(problem).startswith("bots[3].x: must be 1 to ") or "DNS label" in str(problem)
