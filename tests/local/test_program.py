"""A program that always runs: started again when it ends, with pauses when it does not come up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from botshard.local.processes import spawn
from botshard.local.program import Program
from tests.waiting import aeventually

_PAUSES = "import signal; signal.pause()\n"


def _program(folder: Path, text: str, changed: Callable[[], None] = lambda: None) -> Program:
    """A program of a module that notes each start and then does `text`."""
    note = f"open({str(folder / 'starts')!r}, 'a').write(f'{{time.monotonic()}} {{os.getpid()}}\\n')"
    folder.joinpath("tiny.py").write_text(f"import os, time\n{note}\n{text}")
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    return Program("tiny", "tiny", environ, [], asyncio.get_running_loop(), changed)


def _starts(folder: Path) -> list[tuple[float, int]]:
    try:
        lines = (folder / "starts").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(float(at_s), int(pid)) for at_s, pid in (line.split() for line in lines)]


async def _started(folder: Path, times: int) -> bool:
    return len(_starts(folder)) >= times


async def _has_ended(program: Program) -> bool:
    return program.process is None


async def _close(program: Program) -> None:
    program.stop()
    program.kill()
    await aeventually(lambda: _has_ended(program))


async def test_a_program_that_was_killed_is_back_at_once(tmp_path: Path) -> None:
    """The first time there is nothing to wait for; whoever asks learns of end and start."""
    changes: list[bool] = []
    program = _program(tmp_path, _PAUSES, lambda: changes.append(program.process is not None))
    program.start()
    program.start()  # it runs already
    await aeventually(lambda: _started(tmp_path, 1))
    first = program.process
    assert first is not None
    program.on_ready(ready=True)
    assert program.ready
    program.kill()
    await aeventually(lambda: _started(tmp_path, 2))
    assert program.process is not None
    assert program.process.pid != first.pid
    assert not program.ready
    assert changes == [True, False, True]
    await _close(program)


async def test_a_program_that_ends_at_once_is_not_hammered(tmp_path: Path) -> None:
    """Each pause is at least as long as it must be, and longer than the one before."""
    program = _program(tmp_path, "raise SystemExit(3)\n")
    began_s = time.monotonic()
    program.start()
    await aeventually(lambda: _started(tmp_path, 5), within_s=20)
    await _close(program)
    starts = [at_s for at_s, _ in _starts(tmp_path)]
    assert starts[-1] - began_s >= 0.2 + 0.4 + 0.8
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps[2] >= 0.4
    assert gaps[3] >= 0.8


async def test_a_program_that_is_to_end_ends_and_stays_ended(tmp_path: Path) -> None:
    """SIGTERM lets it finish; neither its end nor a start after it brings it back."""
    text = "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(0))\nprint(end='', flush=True)\nsignal.pause()\n"
    program = _program(tmp_path, text)
    program.start()
    await aeventually(lambda: _started(tmp_path, 1))
    program.stop()
    await aeventually(lambda: _has_ended(program))
    program.start()
    assert program.process is None
    assert len(_starts(tmp_path)) == 1


async def test_a_stop_in_a_pause_is_the_end(tmp_path: Path) -> None:
    """The start that was planned for later does nothing."""
    program = _program(tmp_path, "raise SystemExit(3)\n")
    program.start()
    await aeventually(lambda: _started(tmp_path, 3))
    await aeventually(lambda: _has_ended(program))
    program.stop()
    started = len(_starts(tmp_path))
    over_s = asyncio.get_running_loop().time() + 1.0

    async def is_over() -> bool:
        return asyncio.get_running_loop().time() > over_s

    await aeventually(is_over)
    assert program.process is None
    assert len(_starts(tmp_path)) == started


async def test_a_program_that_was_adopted_is_watched_as_if_it_were_our_own(tmp_path: Path) -> None:
    """It keeps what is known of it, and a new one follows its end."""
    program = _program(tmp_path, _PAUSES)
    before = spawn([sys.executable, "-m", "tiny"], program.environ)
    await aeventually(lambda: _started(tmp_path, 1))
    program.adopt(before, ready=True)
    program.start()
    assert program.ready
    assert program.process is before
    before.send(signal.SIGKILL)
    await aeventually(lambda: _started(tmp_path, 2))
    await _close(program)


async def test_a_program_that_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process, no descriptor, no Python: a log line, and another try a little later."""
    program = _program(tmp_path, _PAUSES)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nothing/here")
        program.start()
        assert program.process is None
    await aeventually(lambda: _started(tmp_path, 1))
    await _close(program)


async def test_a_program_is_replaced_by_one_that_is_ready(tmp_path: Path) -> None:
    """Both run until the new one says that it serves; only then the old one is told to end."""
    program = _program(tmp_path, _PAUSES)
    program.start()
    await aeventually(lambda: _started(tmp_path, 1))
    first = program.process
    assert first is not None
    assert program.notice(first.pid, ready=True)
    program.replace()
    await aeventually(lambda: _started(tmp_path, 2))
    program.replace()  # goes on with what has begun
    assert program.process is first
    assert first.is_alive
    assert [record.ready for record in program.records()] == [True, False]
    second = program.records()[1].pid
    assert program.notice(second, ready=True)
    assert program.process is not None
    assert (program.process.pid, program.ready) == (second, True)

    async def is_alone() -> bool:
        return program.is_newer_than(program.process.code_ticks if program.process else 0)

    await aeventually(is_alone)
    assert not first.is_alive
    assert not program.notice(first.pid, ready=True)
    assert len(_starts(tmp_path)) == 2
    await _close(program)


async def test_a_successor_that_does_not_come_up_replaces_nothing(tmp_path: Path) -> None:
    """The program before goes on, and another one is tried after a pause."""
    text = f"if len(open({str(tmp_path / 'starts')!r}).readlines()) > 1: raise SystemExit(3)\n{_PAUSES}"
    program = _program(tmp_path, text)
    program.start()
    await aeventually(lambda: _started(tmp_path, 1))
    first = program.process
    assert first is not None
    program.on_ready(ready=True)

    async def tried_again() -> bool:
        program.replace()
        return len(_starts(tmp_path)) >= 3

    await aeventually(tried_again)
    assert program.process is first
    assert program.ready
    starts = [at_s for at_s, _ in _starts(tmp_path)]
    assert starts[2] - starts[1] >= 0.2

    async def is_alone() -> bool:
        return len(program.records()) == 1

    await aeventually(is_alone)
    await _close(program)


async def test_a_program_that_ends_while_it_is_replaced_is_followed_by_its_successor(tmp_path: Path) -> None:
    """There is one already: no third one is started."""
    program = _program(tmp_path, _PAUSES)
    program.start()
    await aeventually(lambda: _started(tmp_path, 1))
    first = program.process
    assert first is not None
    program.replace()
    await aeventually(lambda: _started(tmp_path, 2))
    second = program.records()[1].pid
    first.send(signal.SIGKILL)

    async def has_followed() -> bool:
        return program.process is not None and program.process.pid == second

    await aeventually(has_followed)
    assert not program.ready
    assert len(program.records()) == 1
    assert len(_starts(tmp_path)) == 2
    await _close(program)


async def test_a_keeper_goes_on_with_a_program_and_its_successor(tmp_path: Path) -> None:
    """Of two that were written down, the second one follows the first as soon as it is ready."""
    program = _program(tmp_path, _PAUSES)
    processes = [spawn([sys.executable, "-m", "tiny"], program.environ) for _ in range(2)]
    await aeventually(lambda: _started(tmp_path, 2))
    program.adopt(processes[0], ready=True)
    program.adopt(processes[1], ready=False)
    assert program.process is processes[0]
    program.notice(processes[1].pid, ready=True)
    assert program.process is processes[1]

    async def is_alone() -> bool:
        return not processes[0].is_alive

    await aeventually(is_alone)
    await _close(program)
