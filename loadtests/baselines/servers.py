"""Processes that serve some bots each: KServe's own server, and a replica of this system by itself."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import psutil

from benchmarks.pool_bots import publish_all
from benchmarks.pool_subjects import module
from loadtests.baselines.bots import ComparedBot

__all__ = ["Server", "Start", "kserve_server", "our_replica"]

_STOP_S = 20.0


class Start(Protocol):
    """Starts a server of some bots."""

    def __call__(self, folder: Path, bots: Sequence[ComparedBot], port: int, log: Path, /) -> Server:
        """Not yet ready."""
        ...


class Server:
    """One process that serves some bots, and is started again as it was."""

    def __init__(self, command: Sequence[str], environ: dict[str, str], log: Path, store: Path | None = None) -> None:
        self._command = command
        self._environ = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **environ}
        self._log = log
        self.store = store
        """Where it takes new versions from while it runs; None: it takes none."""
        self.start()

    def start(self) -> None:
        """Once more."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )

    def pss_bytes(self) -> int:
        """Of it and what it has started."""
        own = psutil.Process(self._process.pid)
        return sum(int(process.memory_full_info().pss) for process in (own, *own.children(recursive=True)))

    def kill(self) -> None:
        """Let it die."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        for child in children:
            child.kill()

    def stop(self) -> None:
        """Let it end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2000:]

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None


def kserve_server(folder: Path, bots: Sequence[ComparedBot], port: int, log: Path) -> Server:  # noqa: ARG001 - a Start
    """KServe's own model server with these models, as its documentation writes it."""
    files = [bot.folders[0] / "model.safetensors" for bot in bots]
    return Server(module("benchmarks.pool_servers", "sdk", port, *files), {}, log)


def our_replica(folder: Path, bots: Sequence[ComparedBot], port: int, log: Path) -> Server:
    """A replica of this system, as the only one of a pool with these bots."""
    published = publish_all(folder, [bot.folders[0] for bot in bots])
    environ = {**published.environ, "RUNTIME_HTTP_PORT": str(port)}
    return Server(module("kserve_runtimes"), environ, log, folder / "store")
