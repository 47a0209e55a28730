"""Processes by pid and start time: adopted, watched, signalled, never confused with another."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.local.processes import Process, adopt, become_subreaper, spawn, start_ticks_of
from tests.waiting import aeventually, eventually

_SLEEPS = [sys.executable, "-S", "-c", "import signal; signal.pause()"]


@pytest.fixture
def sleeper() -> Iterator[Process]:
    """A process that does nothing until it is told to end."""
    process = spawn(_SLEEPS, os.environ)
    yield process
    process.send(signal.SIGKILL)
    _reap(process)
    process.close()


def _reap(process: Process) -> None:
    try:
        os.waitpid(process.pid, 0)
    except ChildProcessError:
        return


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def _end_of(process: Process) -> int | None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Process] = loop.create_future()
    process.watch(loop, ended.set_result)
    async with asyncio.timeout(10):
        assert await ended is process
    return process.exit_code


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("raise SystemExit(0)", 0),
        ("raise SystemExit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9),
    ],
)
async def test_the_end_of_a_child_is_told_once_with_its_exit_code(code: str, exit_code: int) -> None:
    """Negative for a signal; no zombie is left."""
    process = spawn([sys.executable, "-S", "-c", code], os.environ)
    assert await _end_of(process) == exit_code
    assert not process.is_alive
    assert not _is_there(process.pid)
    process.close()


async def test_a_signal_ends_it_and_later_ones_do_nothing(sleeper: Process) -> None:
    """Also after its pidfd was closed."""
    assert sleeper.is_alive
    assert sleeper.exit_code is None
    sleeper.send(signal.SIGTERM)
    assert await _end_of(sleeper) == -signal.SIGTERM
    sleeper.send(signal.SIGTERM)
    sleeper.close()
    sleeper.send(signal.SIGTERM)
    assert not sleeper.is_alive
    sleeper.close()


async def test_who_does_not_watch_any_more_is_not_called(sleeper: Process) -> None:
    """The end is seen by the other watcher alone."""
    loop = asyncio.get_running_loop()
    other = adopt(sleeper.pid, sleeper.start_ticks)
    assert other is not None
    called: list[Process] = []
    sleeper.watch(loop, called.append)
    sleeper.unwatch(loop)
    sleeper.send(signal.SIGKILL)
    await _end_of(other)
    assert called == []
    other.close()


def test_a_process_is_adopted_by_pid_and_start_time(sleeper: Process) -> None:
    """With the right start time, or without any; with another it is another process and stays alone."""
    for ticks in (sleeper.start_ticks, None):
        adopted = adopt(sleeper.pid, ticks)
        assert adopted is not None
        assert (adopted.pid, adopted.start_ticks, adopted.is_alive) == (sleeper.pid, sleeper.start_ticks, True)
        adopted.close()
    assert adopt(sleeper.pid, sleeper.start_ticks + 1) is None
    assert sleeper.is_alive


def test_a_process_that_is_gone_or_a_zombie_is_not_adopted(sleeper: Process) -> None:
    """A zombie has a pid and a start time, and yet nothing runs."""
    sleeper.send(signal.SIGKILL)
    eventually(lambda: not sleeper.is_alive)
    assert Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    assert start_ticks_of(sleeper.pid) is None
    assert adopt(sleeper.pid, sleeper.start_ticks) is None
    assert adopt(sleeper.pid, None) is None
    _reap(sleeper)
    assert start_ticks_of(sleeper.pid) is None
    assert adopt(sleeper.pid, None) is None


async def test_the_end_of_somebody_elses_child_is_seen_without_its_exit_code(tmp_path: Path) -> None:
    """Only its parent can know that, and may tell it."""
    pid_file = tmp_path / "pid"
    parent = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'input()'], stdin=subprocess.PIPE)\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))\n"
        "input(); child.communicate(b'x')\n"
    )
    running = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdin=subprocess.PIPE)
    pid = int(eventually(lambda: pid_file.exists() and pid_file.read_text()))
    process = adopt(pid, None)
    assert process is not None
    await running.communicate(b"\n")
    assert await _end_of(process) is None
    process.set_exit_code(0)
    assert process.exit_code == 0
    process.close()


def test_a_program_gets_the_named_descriptors_and_no_others(tmp_path: Path) -> None:
    """And exactly the environment that it is given; its standard input is empty."""
    said = tmp_path / "said"
    reader, writer = os.pipe()
    other, other_writer = os.pipe()
    os.set_inheritable(other, True)
    code = (
        "import json, os, sys\n"
        "fds = sorted(int(n) for n in os.listdir('/proc/self/fd'))\n"
        f"open({str(said)!r} + '.new', 'w').write(json.dumps((fds, os.environ.get('ONLY'), 'HOME' in os.environ, "
        "sys.stdin.read())))\n"
        f"os.rename({str(said)!r} + '.new', {str(said)!r})\n"
    )
    process = spawn([sys.executable, "-S", "-c", code], {"ONLY": "this"}, pass_fds=[writer], new_session=True)
    _reap(process)
    process.close()
    fds, only, home, standard_input = json.loads(said.read_text())
    assert writer in fds
    assert other not in fds
    assert (only, home, standard_input) == ("this", False, "")
    for fd in (reader, writer, other, other_writer):
        os.close(fd)


def test_a_program_that_is_not_there_is_an_error() -> None:
    """Told at once."""
    with pytest.raises(FileNotFoundError):
        spawn(["/nothing/here"], {})


async def test_a_subreaper_gets_the_orphans_of_its_children() -> None:
    """So none of them stays a zombie, and their end is known."""
    code = (
        "import os, subprocess, sys, signal\n"
        "from botshard.local.processes import become_subreaper\n"
        "become_subreaper()\n"
        "orphan = 'import os, time; print(os.getpid(), flush=True); input()'\n"
        'middle = f\'import subprocess, sys; subprocess.Popen([sys.executable, "-S", "-c", {orphan!r}])\'\n'
        "subprocess.run([sys.executable, '-S', '-c', middle], check=True)\n"
        "print(os.waitpid(-1, 0)[1], flush=True)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    orphan = int(await process.stdout.readline())
    await aeventually(lambda: _is_child(orphan, process.pid))
    process.stdin.write(b"\n")
    assert await process.stdout.readline() == b"0\n"
    process.stdin.close()
    assert await process.wait() == 0


async def _is_child(pid: int, parent: int) -> bool:
    return _parent_of(pid) == parent


def test_a_name_with_spaces_and_brackets_hides_no_start_time(tmp_path: Path) -> None:
    """The kernel puts the name in brackets and escapes nothing."""
    odd = tmp_path / "a) b (c"
    odd.symlink_to(sys.executable)
    process = spawn([str(odd), "-S", "-c", "import signal; signal.pause()"], os.environ)
    eventually(lambda: ") b (" in Path(f"/proc/{process.pid}/stat").read_text())
    assert start_ticks_of(process.pid) == process.start_ticks
    process.send(signal.SIGKILL)
    _reap(process)
    process.close()


def test_becoming_a_subreaper_twice_is_fine() -> None:
    """Keeper and front both are."""
    code = "from botshard.local.processes import become_subreaper as b; b(); b()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert callable(become_subreaper)
