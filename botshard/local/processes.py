"""Processes that outlive whoever started them: named by pid and start time, watched by a pidfd.

A pid alone may be given to another process; with its start time (`/proc/<pid>/stat`, field 22) it names one process for
good. A pidfd tells of its end whoever its parent is, which is what lets a restarted keeper adopt what runs already.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["STOP_SIGNALS", "Process", "adopt", "become_subreaper", "spawn", "start_ticks_of", "ticks_now"]

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What tells a stack to end: Ctrl-C, `kill`, a terminal that is closed."""

_PR_SET_CHILD_SUBREAPER = 36
_STARTTIME_FIELD = 19  # counted after the command name, which may hold spaces
_ENDED = (b"Z", b"X")  # a zombie, or on its way out


@dataclass(slots=True, eq=False)
class Process:
    """One running process."""

    pid: int
    start_ticks: int
    started_at_s: float
    """Monotonic seconds of this process: when it was started or adopted."""
    _pidfd: int = field(repr=False)
    _exit_code: int | None = None
    code_ticks: int = 0
    """When the code that it runs was read, on the clock of `start_ticks`: when it started, or the zygote that it is a
    fork of. 0: not known, so older than anything."""

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        if self._pidfd < 0:
            return False
        poll = select.poll()  # unlike select, it takes descriptors over 1023
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where the process has ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def watch(self, loop: asyncio.AbstractEventLoop, ended: Callable[[Process], None]) -> None:
        """Call `ended` once, from `loop`, when the process has ended."""

        def on_end() -> None:
            loop.remove_reader(self._pidfd)
            self._reap()
            ended(self)

        loop.add_reader(self._pidfd, on_end)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do not call `ended` any more."""
        if self._pidfd >= 0:
            loop.remove_reader(self._pidfd)

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs, or where only another process could know."""
        return self._exit_code

    def set_exit_code(self, exit_code: int) -> None:
        """Told by the parent, where that is another process."""
        self._exit_code = exit_code

    def close(self) -> None:
        """Let go of the pidfd."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._exit_code = os.waitstatus_to_exitcode(status)


def spawn(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    pass_fds: Sequence[int] = (),
    new_session: bool = False,
) -> Process:
    """Start a program with exactly these file descriptors besides the standard ones.

    Raises: OSError where it cannot be started.
    """
    child = subprocess.Popen(
        argv, env=dict(environ), pass_fds=tuple(pass_fds), stdin=subprocess.DEVNULL, start_new_session=new_session
    )
    # The child is waited for by pid; Popen must not do so a second time.
    child.returncode = 0
    ticks = start_ticks_of(child.pid) or 0
    return Process(child.pid, ticks, time.monotonic(), os.pidfd_open(child.pid), code_ticks=ticks)


def adopt(pid: int, start_ticks: int | None, *, code_ticks: int = 0) -> Process | None:
    """The process with this pid and start time (None: whatever has the pid now); None where it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    ticks = start_ticks_of(pid)
    if ticks is None or (start_ticks is not None and ticks != start_ticks):
        os.close(pidfd)
        return None
    return Process(pid, ticks, time.monotonic(), pidfd, code_ticks=code_ticks)


def start_ticks_of(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None where there is none, or only its exit code is left."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - not a file of ours
            after_name = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in _ENDED else int(after_name[_STARTTIME_FIELD])


def ticks_now() -> int:
    """Now, as `start_ticks_of` tells the time."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def become_subreaper() -> None:
    """Become the parent of orphaned descendants, so that none of them stays a zombie."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
