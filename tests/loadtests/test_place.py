"""A scenario on a whole stack, in short, and what is said where there is nothing to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.pool_subjects import free_port
from botshard.local.processes import start_ticks_of
from loadtests.baselines.bots import write_compared
from loadtests.baselines.designs import OneProcess, stopping
from loadtests.baselines.servers import our_replica
from loadtests.fleet import make_fleet
from loadtests.main import main
from loadtests.place import Place, local_place
from loadtests.report.document import read_document
from loadtests.scenarios import SCENARIOS
from tests.waiting import eventually

_FLEET = ["--bots", "12", "--tenants", "3"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A stack as a run makes it, with a dozen bots; nothing of it is left afterwards."""
    folder = tmp_path_factory.mktemp("place")
    scenario = SCENARIOS["rolling-update"]
    fleet = make_fleet(12, tenants=3, realtime_share=scenario.realtime_share, seed=1)
    with local_place(folder, fleet, is_asleep=False) as place:
        assert place.stack is not None
        records = place.stack.records()
        pids = [record["pid"] for kind in records.values() for record in kind]
        ticks = {pid: start_ticks_of(pid) for pid in pids}
        yield place
    eventually(lambda: not [pid for pid in pids if ticks[pid] is not None and start_ticks_of(pid) == ticks[pid]])
    assert not (folder / "stack" / "run").exists()


@pytest.mark.stack
def test_a_scenario_runs_against_a_stack(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Versions are published under load and take over; no request fails, and the report says what it was."""
    assert place.stack is not None
    where = ["--router", place.url, "--store", place.stack.store_url]
    run = ["run", "rolling-update", *_FLEET, "--seconds", "5", "--rate", "40", "--out", str(tmp_path), *where]
    assert main(run) in (0, 1)  # what is promised of latency is promised for a machine that does nothing else
    document = read_document(tmp_path / "rolling-update.json")
    assert document["causes"] == []
    assert document["isWhole"]
    assert document["load"]["target"] == place.url
    assert any(note.startswith("3 bots got a new version") for note in document["notes"])
    assert "rolling, realtime" in capsys.readouterr().out
    assert (tmp_path / "rolling-update.html").read_text().startswith("<!doctype html>")


@pytest.mark.stack
def test_bots_that_are_missing_are_told_and_then_published(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the command that publishes them; it does."""
    assert place.stack is not None
    more = ["--bots", "15", "--tenants", "3"]
    assert main(["run", "steady", *more, "--router", place.url, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "has 12 of the 15 bots" in error
    assert "python -m loadtests publish" in error
    assert main(["run", "steady", *_FLEET, "--grpc-share", "0.5", "--router", place.url, "--out", str(tmp_path)]) == 2
    assert "--grpc host:port" in capsys.readouterr().err
    assert main(["publish", "steady", *more, "--store", place.stack.store_url]) == 0
    assert "15 bots are in file://" in capsys.readouterr().out


def test_a_process_for_all_is_killed_and_rolled_out(tmp_path: Path) -> None:
    """The comparison's own server: all bots are gone with it and come back, and a new version is taken up."""
    design = OneProcess(tmp_path, write_compared(tmp_path / "bots", 3, seed=1), our_replica)
    with stopping(design):
        design.wait()
        assert design.processes == 1
        assert design.pss_bytes() > 1 << 20
        design.kill()
        design.wait()
        design.roll_out([0, 2])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            ["--router", "http://127.0.0.1:{port}"], "nothing answers at http://127.0.0.1:{port}", id="nobody"
        ),
        pytest.param(["--router", "localhost"], "it is written http://host:port", id="no address"),
        pytest.param(["--popularity", "fame"], "'fame' is none of azure, uniform, zipf", id="popularity"),
        pytest.param(["--keys", "{port}.json"], "no JSON object of keys", id="keys"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """And the exit code is 2."""
    port = str(free_port())
    given = [argument.replace("{port}", port) for argument in arguments]
    assert main(["run", "steady", "--out", str(tmp_path), *given]) == 2
    error = capsys.readouterr().err
    assert said.replace("{port}", port) in error
    assert error.startswith("loadtests: ")


def test_the_scenarios_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """With what they promise."""
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name}: " in out for name in SCENARIOS)
    assert "failed, all, % ≤ 0" in out


def test_a_summary_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its name."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"a": 1}))
    assert main(["summary", str(path)]) == 2
    assert "x.json is no report" in capsys.readouterr().err
