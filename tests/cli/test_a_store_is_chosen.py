"""Which store a command works on, and what it says where there is none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from botshard.cli.context import find_place, open_place, router_url
from botshard.cli.errors import NoStoreError, RouterUnavailableError, WrongUsageError
from botshard.local.processes import start_ticks_of
from botshard.local.records import write_json
from botshard.local.settings import StackFolder
from tests.cli.running import Cli

_GONE_PID_TICKS = 1  # no process of this boot began at its first tick


def _write_stack(folder: Path, *, alive: bool, store_url: str = "s3://bots") -> None:
    stack = StackFolder(folder)
    stack.run.mkdir(parents=True)
    ticks = start_ticks_of(os.getpid()) if alive else _GONE_PID_TICKS
    said = {"url": "http://127.0.0.1:8080", "storeUrl": store_url, "keeperPid": os.getpid(), "frontPid": os.getpid()}
    write_json(stack.stack, {**said, "keeperTicks": ticks})


@pytest.mark.parametrize(
    ("store", "folder", "environ", "expected"),
    [
        pytest.param("file:///a", Path("/f"), {"BOTSHARD_STORE": "file:///b"}, "file:///a", id="option"),
        pytest.param(None, Path("/f"), {"BOTSHARD_STORE": "file:///b"}, "file:///f/store", id="folder-before-variable"),
        pytest.param(None, None, {"BOTSHARD_STORE": "file:///b", "BOTSHARD_FOLDER": "/g"}, "file:///b", id="variable"),
        pytest.param(None, None, {"BOTSHARD_FOLDER": "/g"}, "file:///g/store", id="folder-variable"),
        pytest.param(None, None, {"BOTSHARD_STORE": ""}, f"{(Path.cwd() / '.botshard/store').as_uri()}", id="default"),
    ],
)
def test_options_come_before_variables_and_these_before_the_default(
    store: str | None, folder: Path | None, environ: Mapping[str, str], expected: str
) -> None:
    """What is said more explicitly wins."""
    assert find_place(store, folder, environ).store_url == expected


def test_a_running_stack_names_store_and_router(tmp_path: Path) -> None:
    """A folder means the store of the stack that runs in it, wherever that is, and its router."""
    _write_stack(tmp_path, alive=True)
    place = find_place(None, tmp_path, {})
    assert place.store_url == "s3://bots"
    assert place.own_stack is not None
    assert router_url(None, place, {}) == "http://127.0.0.1:8080"


def test_a_killed_stack_names_its_store_but_no_router(tmp_path: Path) -> None:
    """What a killed stack has left still says where the bots are, but nobody answers at its URL."""
    _write_stack(tmp_path, alive=False)
    place = find_place(None, tmp_path, {})
    assert place.store_url == "s3://bots"
    assert place.own_stack is None
    with pytest.raises(RouterUnavailableError, match="no stack runs in"):
        router_url(None, place, {})


def test_a_damaged_stack_file_is_no_stack(tmp_path: Path) -> None:
    """A file that cannot be read as a stack's is passed over."""
    StackFolder(tmp_path).run.mkdir()
    StackFolder(tmp_path).stack.write_text('{"url": "http://127.0.0.1:1"}')
    assert find_place(None, tmp_path, {}).stack is None


def test_an_option_or_a_variable_names_another_router(tmp_path: Path) -> None:
    """`--url` wins over the variable and both over the stack."""
    _write_stack(tmp_path, alive=True)
    place = find_place(None, tmp_path, {})
    environ = {"BOTSHARD_URL": "http://b:1"}
    assert router_url("https://a/", place, environ) == "https://a"
    assert router_url(None, place, environ) == "http://b:1"


@pytest.mark.parametrize(
    "url", ["ftp://a", "http://", "http://user:secret@a", "a:80", "http://a:999999", "http://[::1", "http://a b", ""]
)
def test_a_wrong_router_is_refused_without_being_shown(url: str, tmp_path: Path) -> None:
    """The message says what a router's URL looks like, and repeats none that may hold a password."""
    place = find_place(None, tmp_path, {})
    with pytest.raises((WrongUsageError, RouterUnavailableError)) as caught:
        router_url(url, place, {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://user:hush@bots",
        "https://user:hush@host/bots",
        "s3://bots?token=hush",
        "s3://[hush",
        "file://hush/bots",
        "bots",
    ],
)
def test_a_wrong_store_is_refused_without_being_shown(url: str, cli: Cli) -> None:
    """Wrong URLs are wrong usage; nothing of one that may hold credentials is repeated, nor a traceback shown."""
    ended = cli("bots", "--store", url)
    assert ended.exit_code == 2
    assert "store URL" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hush" not in ended.stderr


def test_missing_credentials_are_named_by_their_variables(cli: Cli) -> None:
    """Without credentials the message names the variables, all of them at once."""
    ended = cli("bots", "--store", "s3://bots")
    assert ended.exit_code == 2
    assert "AWS_ACCESS_KEY_ID" in ended.stderr
    assert "AWS_SECRET_ACCESS_KEY" in ended.stderr


@pytest.mark.parametrize("command", [["bots"], ["pools"], ["show", "a"], ["explain", "a"], ["retire", "a"]])
def test_looking_never_makes_a_store(command: list[str], cli: Cli) -> None:
    """Where there is no store, commands that look say where they did, and make none."""
    ended = cli(*command)
    assert ended.exit_code == 3
    assert str(cli.folder / ".botshard" / "store") in ended.stderr
    assert "--store" in ended.stderr
    assert list(cli.folder.iterdir()) == []


def test_a_folder_that_is_no_store_is_not_made_one(tmp_path: Path) -> None:
    """An empty folder may be a disk that is not mounted."""
    with pytest.raises(NoStoreError):
        open_place(find_place(tmp_path.as_uri(), None, {}), {})
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_away_ends_with_its_own_exit_code(cli: Cli) -> None:
    """A server that cannot be reached is told in one line, with the exit code for trying again later."""
    away = Cli(cli.folder, {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush"})
    ended = away("bots", "--store", "s3://bots?endpoint=http://127.0.0.1:1")
    assert ended.exit_code == 3
    assert ended.stderr.count("\n") == 1
    assert "127.0.0.1:1" in ended.stderr
    assert "hush" not in ended.stderr
