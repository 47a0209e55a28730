"""A scenario on a whole stack, in short, and what is said where there is nothing to ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.pool_subjects import free_port
from botshard.local.processes import start_ticks_of
from loadtests.baselines.bots import write_compared
from loadtests.baselines.designs import OneProcess, stopping
from loadtests.baselines.servers import our_replica
from loadtests.main import main
from loadtests.report.document import read_document
from loadtests.scenarios import SCENARIOS
from tests.local_stack import GROUPS, LocalStack


@pytest.mark.stack
def test_a_scenario_runs_on_a_stack_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Versions are published and everything is rolled under load; no request fails, and nothing is left running."""
    out, folder = tmp_path / "out", tmp_path / "folder"
    arguments = ["--bots", "40", "--tenants", "4", "--seconds", "6", "--rate", "30"]
    code = main(["run", "rolling-update", *arguments, "--out", str(out), "--folder", str(folder)])
    document = read_document(out / "rolling-update.json")
    assert document["causes"] == []
    assert document["isWhole"]
    assert any("10 bots got a new version" in note for note in document["notes"])
    assert any("was replaced" in note for note in document["notes"])
    assert code in (0, 1)  # what is promised of latency is promised for a machine that does nothing else
    assert "rolling, realtime" in capsys.readouterr().out
    assert (out / "rolling-update.html").read_text().startswith("<!doctype html>")
    assert not (folder / "stack" / "run").exists()


@pytest.mark.stack
def test_what_runs_already_is_asked_once_it_has_the_bots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before they are published it is told how to; afterwards every one of them answers."""
    stack = LocalStack(tmp_path, groups=GROUPS)
    fleet = ["steady", "--bots", "12", "--tenants", "3"]
    run = ["run", *fleet, "--seconds", "2", "--rate", "30", "--out", str(tmp_path / "out")]
    stack.start()
    try:
        assert main([*run, "--router", stack.url]) == 2
        assert "has 0 of the 12 bots" in capsys.readouterr().err
        assert main(["publish", *fleet, "--store", stack.store_url]) == 0
        stack.wait_for_any("load-00000")
        assert main([*run, "--router", stack.url]) in (0, 1)
        pids = stack.pids()
    finally:
        stack.stop()
    document = read_document(tmp_path / "out" / "steady.json")
    assert document["causes"] == []
    assert document["load"]["target"] == stack_url_of(document)
    assert not [pid for pid, ticks in pids.items() if start_ticks_of(pid) == ticks]


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
        pytest.param(["--router", "http://127.0.0.1:{port}"], "nothing answers at http://127.0.0.1:{port}", id="nobody"),
        pytest.param(["--router", "localhost"], "it is written http://host:port", id="no address"),
        pytest.param(["--popularity", "fame"], "'fame' is none of azure, uniform, zipf", id="popularity"),
        pytest.param(["--grpc-share", "0.5"], "--grpc host:port", id="no address over gRPC"),
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
