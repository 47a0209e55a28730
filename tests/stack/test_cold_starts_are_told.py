"""Where the time of a request to a pool at zero went, as the router, the answer and the command line tell it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from botshard.sharding.fleet import PoolPhase
from router.telemetry.ledger import STAGES
from tests.local_stack import Answer, LocalStack, ask, write_bots
from tests.waiting import eventually

pytestmark = pytest.mark.stack

_GRAIN_S = 0.001


def _ledger(stack: LocalStack, bot: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{stack.url}/admin/ledger?bot={bot}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["requests"]
    return found


def _milliseconds(header: str) -> dict[str, float]:
    parts = (part.strip().partition(";dur=") for part in header.split(","))
    return {stage: float(value) for stage, _, value in parts if value}


def _cold_start(stack: LocalStack) -> tuple[Answer, Answer, dict[str, Any]] | None:
    """A request to a pool at zero, the next one, and what is told of the first; None where it was not cold yet."""
    eventually(lambda: [s.phase for s in stack.statuses().values()] == [PoolPhase.ASLEEP], within_s=30)
    before = len(_ledger(stack, "sleepy"))
    # A replica that is about to end may still answer, and so may one that the same request has started besides.
    first = ask(stack.url, "sleepy")
    second = ask(stack.url, "sleepy")
    found = _ledger(stack, "sleepy")
    is_first = found[0]["requestId"] == first.headers["x-request-id"] and found[0]["waitedFor"] == "pool"
    return (first, second, found[0]) if len(found) == before + 1 and is_first else None


def test_the_stages_of_a_cold_start_are_its_wall_time(tmp_path: Path) -> None:
    """A pool at zero: wake, fetch and load are there, the stages add up to all of it; the next request has none."""
    with LocalStack(tmp_path) as stack:
        stack.publish(write_bots(tmp_path / "bots", ["sleepy"], group="non-realtime"))
        stack.wait_for("sleepy")
        told = eventually(lambda: _cold_start(stack), within_s=60)
        assert told is not None
        first, second, cold = told
        explained = subprocess.run(
            [sys.executable, "-m", "botshard.cli", "explain", "sleepy", "--folder", str(stack.folder.path), "--json"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        shown = subprocess.run(
            [sys.executable, "-m", "botshard.cli", "explain", "sleepy", "--request", "--url", stack.url],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert first.status == second.status == 200
    stages, took_s = cold["stagesS"], cold["tookS"]
    assert tuple(stages) == STAGES
    assert sum(stages.values()) == pytest.approx(took_s, abs=_GRAIN_S, rel=0.01)
    assert took_s <= first.took_s + _GRAIN_S
    assert min(stages.values()) >= 0
    assert stages["wake"] > 0.005  # a fork and a catalog, at least
    assert stages["fetch"] > 0
    assert stages["load"] > 0
    parts = _milliseconds(first.headers["server-timing"])
    assert parts.pop("total") == pytest.approx(sum(parts.values()), abs=0.01)
    assert parts == {stage: pytest.approx(stages[stage] * 1e3, abs=0.01) for stage in STAGES if stage != "reply"}
    warm = _milliseconds(second.headers["server-timing"])
    assert "wake" not in warm
    assert warm["fetch"] == warm["load"] == 0
    at_router = json.loads(explained.stdout)["router"]
    assert at_router["coldRequests"][0]["requestId"] == cold["requestId"]
    assert set(at_router["why"][1:]) <= set(json.loads(explained.stdout)["why"]), "both tell the same of the table"
    assert "WAKE" in shown.stdout
    assert cold["at"] in shown.stdout
