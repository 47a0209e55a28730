"""Routers as processes: `python -m router`, what it says, and how it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from botshard.notify import Notice, parse_notice

__all__ = ["ROOT", "Process", "Processes"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Process:
    """A router process and what it says."""

    popen: subprocess.Popen[str]
    port: int
    notices: socket.socket

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next_notice(self) -> Notice | None:
        return parse_notice(self.notices.recv(4096))

    def end(self) -> str:
        """Wait for its end; its log."""
        _, log = self.popen.communicate(timeout=15)
        return log


class Processes:
    """Starts routers; ends what is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def start(
        self, *, fds: tuple[int, ...] = (), port: int = 0, arguments: Sequence[str] = (), **environ: str
    ) -> Process:
        address = self._folder / f"notify-{len(self._started)}"
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notices.bind(str(address))
        notices.settimeout(15)
        command = [sys.executable, "-m", "router", *arguments]
        variables = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(address), "PYTHONPATH": str(ROOT), **environ}
        popen = subprocess.Popen(
            command, env=variables, cwd=ROOT, pass_fds=fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process = Process(popen, port, notices)
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in self._started:
            if process.popen.poll() is None:
                process.popen.kill()
            process.popen.communicate()
            process.notices.close()
