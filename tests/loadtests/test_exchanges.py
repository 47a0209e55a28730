"""What is made of single answers, and of a file of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.asking.exchanges import UNKNOWN, cause_of_answer, is_cold, read_results, version_of
from loadtests.fleet import make_fleet
from tests.loadtests.runs import exchange


@pytest.mark.parametrize(
    ("data", "version"),
    [
        pytest.param([1.0, 2.0], 1, id="the first"),
        pytest.param([1.0, 3.0000001], 2, id="the second, as near as 32 bits are"),
        pytest.param([1.0, 2.5], 0, id="none of them"),
        pytest.param([1.0], 0, id="too short"),
        pytest.param(["a", "b"], 0, id="no numbers"),
        pytest.param(None, 0, id="nothing"),
    ],
)
def test_an_answer_tells_which_version_gave_it(data: object, version: int) -> None:
    """By its numbers alone."""
    assert version_of(data, [[1.0, 2.0], [1.0, 3.0]]) == version


@pytest.mark.parametrize(
    ("header", "cold"),
    [
        pytest.param("", UNKNOWN, id="says nothing"),
        pytest.param("queue;dur=0.1, pre;dur=0.2, batch;desc=1", 0, id="warm"),
        pytest.param("load;dur=3.2, queue;dur=0.1", 1, id="loaded"),
        pytest.param("route;dur=0.1, wake;dur=40.1, load;dur=0.000, queue;dur=0.1", 1, id="woken"),
        pytest.param("wake;dur=0.000, fetch;dur=0.000, load;dur=0.000, queue;dur=0.1", 0, id="named, and no time"),
    ],
)
def test_an_answer_tells_whether_it_was_cold(header: str, cold: int) -> None:
    """By where its time went."""
    assert is_cold(header) == cold


def test_one_cause_is_one_cause_whichever_bot_it_strikes() -> None:
    """Bots and numbers are left out of it, and its length is bounded."""
    causes = {
        cause_of_answer(503, f"bot {bot} cannot be loaded within {seconds} s: the disk is full", bot)
        for bot, seconds in (("load-1", 3.2), ("acme", 17))
    }
    assert causes == {"503 bot BOT cannot be loaded within N s: the disk is full"}
    assert len(cause_of_answer(500, "x" * 1000, "b")) <= 80


def test_results_of_a_process_that_was_killed_are_read(tmp_path: Path) -> None:
    """Without the half line at the end; the exchanges come in the order of their moments."""
    path = tmp_path / "results"
    lines = [json.dumps(line) for line in ({"began": 5.0}, exchange(2.0), exchange(1.0))]
    path.write_text("\n".join(lines) + "\n[3.0, 0")
    results = read_results(path)
    assert [one.at_s for one in results.exchanges] == [1.0, 2.0]
    assert (results.began_s, results.until_s, results.is_whole) == (5.0, 2.0, False)
    assert read_results(tmp_path / "none").exchanges == []


def test_a_fleet_is_the_same_again_and_its_bots_differ() -> None:
    """Tenants have equally many bots, half of them realtime; no two bots and no two versions answer alike."""
    fleet = make_fleet(200, tenants=10, realtime_share=0.5, seed=3)
    assert fleet == make_fleet(200, tenants=10, realtime_share=0.5, seed=3)
    assert {fleet.tenants.count(tenant) for tenant in fleet.tenants} == {20}
    realtime = [bot.tenant for bot in fleet.bots if bot.group == "realtime"]
    assert {realtime.count(tenant) for tenant in fleet.tenants} == {10}
    answers = {tuple(bot.answer(version)) for bot in fleet.bots for version in (1, 2)}
    assert len(answers) == 400
