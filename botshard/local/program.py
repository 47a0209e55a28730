"""A program that always runs: router and controller. Started again when it ends, sooner the longer it has lived.

It can be replaced while it serves: another process starts beside it, takes over once it is ready, and the one before
finishes what it has. Both may accept from the same socket, and two controllers at once do each other no harm.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from botshard.local.processes import Process, spawn
from botshard.local.records import ProcessRecord
from botshard.local.scaling import restart_delay_s
from botshard.logs import fields

__all__ = ["Program"]

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Program:
    """One of them. `module` is what `python -m` runs."""

    name: str
    module: str
    environ: Mapping[str, str]
    pass_fds: Sequence[int]
    loop: asyncio.AbstractEventLoop
    changed: Callable[[], None]
    """Called when the process was started or has ended."""
    process: Process | None = None
    ready: bool = False
    _failures: int = 0
    _closing: bool = False
    _successor: Process | None = None
    """Started to take the place of `process`, and not ready yet."""
    _retiring: list[Process] = field(default_factory=list)
    """Replaced, and finishing what they have."""
    _replace_after_s: float = float("-inf")

    @property
    def has_ended(self) -> bool:
        """Whether no process of it is left."""
        return self.process is None and self._successor is None and not self._retiring

    def records(self) -> list[ProcessRecord]:
        """For the keeper that comes after this one: the process that serves, and its successor."""
        return [
            ProcessRecord(
                self.name,
                process.pid,
                process.start_ticks,
                self.ready and process is self.process,
                code_ticks=process.code_ticks,
            )
            for process in self._going_on()
        ]

    def start(self) -> None:
        """Start it, unless it runs or is to end."""
        if self.process is not None or self._closing:
            return
        process = self._spawn()
        if process is None:
            self._retry(0.0, "it cannot be started")
            return
        self.adopt(process, ready=False)

    def adopt(self, process: Process, *, ready: bool) -> None:
        """Go on with a process of the keeper before; a second one is the successor of the first."""
        process.watch(self.loop, self._on_end)
        if self.process is None:
            self.process, self.ready = process, ready
        else:
            self._successor = process
            if ready:
                self._take_over()
        self.changed()

    def replace(self) -> None:
        """Have another process take over from the one that serves. Asked again, goes on with what has begun."""
        if self._successor is not None or self._closing or self.loop.time() < self._replace_after_s:
            return
        if self.process is None:
            return  # it is being started again anyway
        process = self._spawn()
        if process is None:
            self._replace_after_s = self.loop.time() + restart_delay_s(2, 0.0)
            return
        self._successor = process
        process.watch(self.loop, self._on_end)
        self.changed()

    def is_newer_than(self, ticks: int) -> bool:
        """Whether it serves, and nothing is left of it whose code is older."""
        return (
            self.process is not None
            and self.ready
            and not self._retiring
            and self._successor is None
            and self.process.code_ticks >= ticks
        )

    def stop(self) -> None:
        """Let it drain and end."""
        self._closing = True
        for process in self._going_on():
            process.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        for process in (*self._going_on(), *self._retiring):
            process.send(signal.SIGKILL)

    def notice(self, pid: int, *, ready: bool) -> bool:
        """A process has said whether it serves; False where it is none of this program."""
        if self._successor is not None and self._successor.pid == pid:
            if ready:
                self._take_over()
            return True
        if self.process is None or self.process.pid != pid:
            return False
        self.on_ready(ready=ready)
        return True

    def on_ready(self, *, ready: bool) -> None:
        """It has said that it serves, or that it does not any more."""
        if ready and not self.ready and self.process is not None:
            took_s = self.loop.time() - self.process.started_at_s
            _log.info("program ready", extra=fields(program=self.name, took_s=took_s))
        self.ready = ready

    def _going_on(self) -> list[Process]:
        return [process for process in (self.process, self._successor) if process is not None]

    def _spawn(self) -> Process | None:
        try:
            return spawn([sys.executable, "-m", self.module], self.environ, pass_fds=self.pass_fds)
        except OSError:
            _log.exception("cannot start a program", extra=fields(program=self.name))
            return None

    def _take_over(self) -> None:
        before, self.process, self._successor = self.process, self._successor, None
        self.ready = True
        if before is not None:
            self._retiring.append(before)
            before.send(signal.SIGTERM)
        _log.info("program replaced", extra=fields(program=self.name))
        self.changed()

    def _on_end(self, process: Process) -> None:
        lived_s = self.loop.time() - process.started_at_s
        exit_code = process.exit_code
        process.close()
        if process in self._retiring:
            self._retiring.remove(process)
            return
        if process is self._successor:
            self._successor = None
            self._replace_after_s = self.loop.time() + restart_delay_s(2, 0.0)
            _log.warning("a successor ended before it was ready", extra=fields(program=self.name, exit=exit_code))
            self.changed()
            return
        if self._successor is not None:
            # Its place is taken by the one that was to follow it anyway.
            self.process, self.ready, self._successor = self._successor, False, None
            self.changed()
            return
        self.process, self.ready = None, False
        self.changed()
        if not self._closing:
            self._retry(lived_s, f"exit code {exit_code}")

    def _retry(self, lived_s: float, why: str) -> None:
        self._failures = 1 if lived_s > restart_delay_s(2, 0) * 100 else self._failures + 1
        delay_s = restart_delay_s(self._failures, lived_s)
        _log.warning("program lost", extra=fields(program=self.name, how=why, again_in_s=delay_s))
        self.loop.call_later(delay_s, self.start)
