"""Runs as real processes: exit codes, Ctrl-C, pipes, terminals, completion."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from contextlib import suppress

import pytest

from botshard.store.base import ObjectStore
from tests.cli.bot_server import BotServer
from tests.cli.running import Cli
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        pytest.param(["bots", "--json"], 0, id="done"),
        pytest.param(["show", "nobody", "--json"], 1, id="not-found"),
        pytest.param(["bots", "--nonsense"], 2, id="usage"),
        pytest.param(["predict", "echo", "hi", "--url", "http://127.0.0.1:1"], 3, id="unreachable"),
    ],
)
def test_each_end_has_its_exit_code(arguments: list[str], exit_code: int, cli: Cli, fleet: ObjectStore) -> None:
    """Scripts can tell done, refused, misused and unreachable apart; stdout holds data or nothing."""
    ended = cli.process(*arguments)
    assert ended.exit_code == exit_code
    assert "Traceback" not in ended.stderr
    if exit_code == 0:
        assert json.loads(ended.stdout)["total"] == 5
    else:
        assert ended.stdout == ""


def test_ctrl_c_ends_at_once_without_a_traceback(cli: Cli, server: BotServer) -> None:
    """Interrupted while a bot is thinking: 130, and not a word."""
    server.hold.clear()
    process = cli.start(["predict", "echo", "hi", "--url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        eventually(server.asked.is_set, within_s=30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_reader_that_leaves_is_no_error(cli: Cli, fleet: ObjectStore) -> None:
    """`botshard bots | head -0` ends quietly, as a program does that SIGPIPE ends."""
    read, write = os.pipe()
    os.close(read)
    process = cli.start(["bots"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, "")


def _on_terminal(cli: Cli, *arguments: str) -> tuple[int, str]:
    """Exit code, and what a terminal of 80 columns shows."""
    master, slave = pty.openpty()
    process = cli.start(arguments, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    with suppress(OSError):  # the last of the terminal's holders has ended
        while part := os.read(master, 65536):
            shown += part
    os.close(master)
    return process.wait(timeout=30), shown.decode()


@pytest.mark.parametrize(
    ("environ", "is_colored"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["terminal", "no-color", "dumb"],
)
def test_colour_is_for_terminals_that_want_it(environ: dict[str, str], *, is_colored: bool, cli: Cli) -> None:
    """NO_COLOR and TERM=dumb are respected."""
    exit_code, shown = _on_terminal(Cli(cli.folder, environ), "doctor")
    assert exit_code == 0
    assert ("\x1b[32m" in shown) is is_colored


def test_a_terminal_shows_progress_and_a_pipe_does_not(cli: Cli) -> None:
    """The bar is on stderr and only where somebody sees it."""
    cli("init", "my-bot")
    assert "publishing" in _on_terminal(Cli(cli.folder, {"TERM": "xterm"}), "publish", "my-bot")[1]
    assert "publishing" not in cli.process("publish", "my-bot").stderr


def test_a_pipe_gets_whole_lines(cli: Cli, fleet: ObjectStore) -> None:
    """Piped tables are neither folded nor coloured, and no line ends in spaces."""
    ended = cli.process("pools")
    lines = ended.stdout.splitlines()
    assert len(lines) == 3
    assert "\x1b" not in ended.stdout
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("botshard ret", ["retire"], id="command"),
        pytest.param("botshard show acme-", ["acme-banking", "acme-travel"], id="bots"),
        pytest.param("botshard retire acme-travel globex-o", ["globex-old"], id="second-bot"),
        pytest.param("botshard show x", [], id="nothing"),
        pytest.param("botshard show --store file:///nonexistent a", [], id="no-store"),
    ],
)
def test_a_shell_completes_commands_and_bots(words: str, expected: list[str], cli: Cli, fleet: ObjectStore) -> None:
    """Bash completion asks the store, and stays silent where that cannot be read."""
    count = len(words.split()) - 1
    environ = {"_BOTSHARD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    ended = Cli(cli.folder, environ).process()
    assert ended.stdout.split() == expected
    assert ended.stderr == ""
