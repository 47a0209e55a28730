"""A program that always runs: router and controller. Started again when it ends, sooner the longer it has lived."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from botshard.local.processes import Process, spawn
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

    def start(self) -> None:
        """Start it, unless it runs or is to end."""
        if self.process is not None or self._closing:
            return
        try:
            process = spawn([sys.executable, "-m", self.module], self.environ, pass_fds=self.pass_fds)
        except OSError as error:
            _log.exception("cannot start a program", extra=fields(program=self.name))
            self._retry(0.0, str(error))
            return
        self.adopt(process, ready=False)

    def adopt(self, process: Process, *, ready: bool) -> None:
        """Go on with a process of the keeper before."""
        self.process, self.ready = process, ready
        process.watch(self.loop, self._on_end)
        self.changed()

    def stop(self) -> None:
        """Let it drain and end."""
        self._closing = True
        if self.process is not None:
            self.process.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        if self.process is not None:
            self.process.send(signal.SIGKILL)

    def on_ready(self, *, ready: bool) -> None:
        """It has said that it serves, or that it does not any more."""
        if ready and not self.ready and self.process is not None:
            took_s = self.loop.time() - self.process.started_at_s
            _log.info("program ready", extra=fields(program=self.name, took_s=took_s))
        self.ready = ready

    def _on_end(self, process: Process) -> None:
        lived_s = self.loop.time() - process.started_at_s
        exit_code = process.exit_code
        process.close()
        self.process, self.ready = None, False
        self.changed()
        if not self._closing:
            self._retry(lived_s, f"exit code {exit_code}")

    def _retry(self, lived_s: float, why: str) -> None:
        self._failures = 1 if lived_s > restart_delay_s(2, 0) * 100 else self._failures + 1
        delay_s = restart_delay_s(self._failures, lived_s)
        _log.warning("program lost", extra=fields(program=self.name, how=why, again_in_s=delay_s))
        self.loop.call_later(delay_s, self.start)
