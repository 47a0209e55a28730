"""The table of scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.report.promises import verdicts_of
from loadtests.scenarios import SCENARIOS, Scenario
from tests.loadtests.runs import imagined

_EACH = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


@_EACH
def test_a_scenario_whose_requests_are_all_answered_keeps_its_promises(scenario: Scenario) -> None:
    """And each of them is about something that the scenario lets be seen."""
    verdicts = verdicts_of(imagined(scenario, bots=200), scenario.promises)
    assert verdicts
    assert [verdict for verdict in verdicts if verdict.ok is not True] == []


@_EACH
def test_a_scenario_notices_what_fails(scenario: Scenario) -> None:
    """Where no request is answered, promises are missed."""
    seen = imagined(scenario, become=lambda one: one._replace(cause="503", took_s=20.0))
    assert any(verdict.ok is False for verdict in verdicts_of(seen, scenario.promises))


@_EACH
def test_a_scenario_leaves_time_to_start_and_to_stop(scenario: Scenario) -> None:
    """Two minutes in all, of which a start on a busy machine may take the half of one."""
    phases = scenario.all_phases(scenario.seconds)
    assert sum(phase.seconds for phase in phases) <= 75
    assert sum(phase.seconds for phase in phases if phase.is_counted) == pytest.approx(scenario.seconds)
    assert {phase for phase, _ in scenario.meanwhile} <= {phase.name for phase in phases}


def test_every_scenario_is_documented() -> None:
    """With its name, in the table of docs/load.md."""
    text = (Path(__file__).parents[2] / "docs" / "load.md").read_text()
    assert [name for name in SCENARIOS if f"| `{name}` |" not in text] == []
