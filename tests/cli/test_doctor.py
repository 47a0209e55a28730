"""`botshard doctor`: what it finds and what it advises."""

from __future__ import annotations

import resource
import tomllib
from pathlib import Path
from typing import Any

import pytest

from botshard.cli.checks import (
    Verdict,
    check_disk,
    check_file_descriptors,
    check_memory,
    check_python,
    check_system,
    free_memory_bytes,
)
from botshard.cli.requirements import REQUIREMENTS, Requirement, check_requirement
from botshard.cli.store_checks import check_conditional_writes
from botshard.sharding.units import GIBIBYTE, MEBIBYTE
from botshard.store.base import ObjectStore
from botshard.store.files import FileStore
from botshard.store.layout import CONTROLLER_STATUS, TABLE_CURRENT, catalog_key
from tests.cli.bot_server import BotServer
from tests.cli.running import Cli
from tests.store.homes import Home

_ROOT = Path(__file__).parents[2]


def _by_name(document: Any) -> dict[str, dict[str, str]]:
    return {check["what"]: check for check in document["checks"]}


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        pytest.param(check_python((3, 10, 9)), Verdict.FAIL, id="old-python"),
        pytest.param(check_python((3, 12, 0)), Verdict.OK, id="python"),
        pytest.param(check_python((3, 14, 0)), Verdict.WARN, id="new-python"),
        pytest.param(check_system("Linux"), Verdict.OK, id="linux"),
        pytest.param(check_system("Darwin"), Verdict.WARN, id="no-linux"),
        pytest.param(check_file_descriptors(256, 4096), Verdict.FAIL, id="few-descriptors"),
        pytest.param(check_file_descriptors(1024, 4096), Verdict.WARN, id="some-descriptors"),
        pytest.param(check_file_descriptors(resource.RLIM_INFINITY, resource.RLIM_INFINITY), Verdict.OK, id="no-limit"),
        pytest.param(check_disk(MEBIBYTE, Path("/x")), Verdict.FAIL, id="full-disk"),
        pytest.param(check_disk(GIBIBYTE, Path("/x")), Verdict.WARN, id="little-disk"),
        pytest.param(check_disk(99 * GIBIBYTE, Path("/x")), Verdict.OK, id="disk"),
        pytest.param(check_memory(99 * MEBIBYTE), Verdict.FAIL, id="no-memory"),
        pytest.param(check_memory(GIBIBYTE), Verdict.WARN, id="little-memory"),
        pytest.param(check_memory(9 * GIBIBYTE), Verdict.OK, id="memory"),
    ],
)
def test_the_machine_is_judged(check: Any, verdict: Verdict) -> None:
    """Whatever is not well comes with advice."""
    assert check.verdict is verdict
    assert bool(check.advice) is (verdict is not Verdict.OK)


def test_memory_of_this_machine_is_known() -> None:
    """The number is one of bytes that a machine can have."""
    assert MEBIBYTE < free_memory_bytes() < 2**50


_KUBERNETES = next(needed for needed in REQUIREMENTS if needed.names == ("kubernetes",))
_NUMPY = next(needed for needed in REQUIREMENTS if needed.names == ("numpy",))


@pytest.mark.parametrize(
    ("needed", "version", "verdict", "advice"),
    [
        pytest.param(_KUBERNETES, "36.9.1", Verdict.OK, "", id="good"),
        pytest.param(_KUBERNETES, "37.0.0", Verdict.FAIL, "pip install 'kubernetes<37'", id="too-new"),
        pytest.param(_KUBERNETES, "30.1.0", Verdict.FAIL, "pip install 'kubernetes>=31'", id="too-old"),
        pytest.param(_KUBERNETES, None, Verdict.WARN, "pip install 'botshard[runtime]'", id="other-part"),
        pytest.param(_NUMPY, None, Verdict.FAIL, "pip install 'botshard'", id="missing"),
        pytest.param(_NUMPY, "2.1.0+local", Verdict.OK, "", id="local-version"),
    ],
)
def test_packages_are_judged_by_their_versions(
    needed: Requirement, version: str | None, verdict: Verdict, advice: str
) -> None:
    """Missing, too old and too new are told apart, each with what to install."""

    def find(names: tuple[str, ...]) -> tuple[str, str] | None:
        return None if version is None else (names[0], version)

    check = check_requirement(needed, find=find)
    assert check.verdict is verdict
    assert check.advice.startswith(advice)


def test_the_table_of_packages_is_that_of_the_project() -> None:
    """Every bound that the doctor knows stands in pyproject.toml, and no package of the library is left out."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        extra: [line.split(";")[0].strip() for line in lines]
        for extra, lines in {"": project["dependencies"], **project["optional-dependencies"]}.items()
    }
    for needed in REQUIREMENTS:
        bounds = f">={needed.at_least}" + (f",<{needed.below}" if needed.below else "")
        either = {f"{name}{bounds}" for name in needed.names} | {
            f"{name}=={needed.at_least}.*" for name in needed.names
        }
        assert either & set(declared[needed.extra]), needed
    named = {name for needed in REQUIREMENTS if not needed.extra for name in needed.names}
    assert named == {line.split(">")[0] for line in declared[""]}


def test_a_store_keeps_its_promises_and_nothing_else_is_left(home: Home) -> None:
    """Real stores pass, and the probe object is gone afterwards."""
    store = home.open()
    try:
        check = check_conditional_writes(store)
        assert check.verdict is Verdict.OK, check.found
        assert list(store.list("")) == []
    finally:
        store.close()


class _Careless(FileStore):
    """A store that writes whatever the condition says, as some S3 servers do."""

    def put_if(self, key: str, data: bytes, /, *, etag: str | None) -> str:
        return self.put(key, data)


def test_a_store_without_conditions_is_found_out(tmp_path: Path) -> None:
    """A store that ignores conditions would lose updates: it fails, and nothing is left in it."""
    store = _Careless(tmp_path / "store")
    check = check_conditional_writes(store)
    assert check.verdict is Verdict.FAIL
    assert "replace" in check.found
    assert list(store.list("")) == []


def test_a_healthy_fleet_passes(cli: Cli, fleet: ObjectStore, server: BotServer) -> None:
    """Every part is named with what was found; warnings do not change the exit code."""
    told = cli.document("doctor", "--url", server.url)
    checks = _by_name(told)
    assert told["ok"] is True
    assert checks["catalog"]["found"] == "5 bots, 1 of them retired"
    assert checks["routing table"]["found"].startswith("epoch 7")
    assert checks["controller"]["verdict"] == "warn"
    assert checks["stack"]["verdict"] == "warn"
    assert checks["router"] == {"what": "router", "verdict": "ok", "found": f"{server.url} is ready", "advice": ""}


@pytest.mark.parametrize(
    ("key", "what"),
    [
        pytest.param(TABLE_CURRENT, "routing table", id="table"),
        pytest.param(catalog_key("00"), "catalog", id="catalog"),
        pytest.param(CONTROLLER_STATUS, "controller", id="controller"),
    ],
)
def test_damage_fails_with_advice(key: str, what: str, cli: Cli, fleet: ObjectStore) -> None:
    """A damaged object fails its own line, and the exit code says so."""
    fleet.put(key, b"{")
    checks = _by_name(cli.document("doctor", exit_code=1))
    assert [name for name, check in checks.items() if check["verdict"] == "fail"] == [what]
    assert checks[what]["advice"]


def test_a_router_that_is_not_ready_fails(cli: Cli, server: BotServer) -> None:
    """Its own reason is shown."""
    server.is_ready = False
    router = _by_name(cli.document("doctor", "--url", server.url, exit_code=1))["router"]
    assert "no table yet" in router["found"]


def test_a_machine_without_anything_is_told_how_to_begin(cli: Cli) -> None:
    """Nothing is there yet: warnings with the next command, no failure, and no store is made."""
    ended = cli("doctor")
    assert ended.exit_code == 0, ended.stdout
    assert "botshard up" in ended.stdout
    assert list(cli.folder.iterdir()) == []


def test_a_store_that_is_away_fails_and_the_rest_goes_on(cli: Cli) -> None:
    """The store's line fails; the machine is still checked."""
    away = Cli(cli.folder, {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush"})
    told = away.document("doctor", "--store", "s3://bots?endpoint=http://127.0.0.1:1", exit_code=1)
    checks = _by_name(told)
    assert checks["store"]["verdict"] == "fail"
    assert "catalog" not in checks
    assert checks["python"]["verdict"] == "ok"
