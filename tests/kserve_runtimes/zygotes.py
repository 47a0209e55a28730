"""A zygote as a real process, and the keeper's end of its control socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from botshard.local.zygote_wire import CONTROL_FD_VARIABLE, Forked, ForkRequest, ZygoteExit, ZygoteReady, receive, send
from tests.kserve_runtimes.fleet import ROOT

__all__ = ["Zygote"]


class Zygote:
    """One zygote; a context."""

    def __init__(self, log: Path, *, framework: str = "torch", arguments: tuple[str, ...] = ()) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(60)
        self.log = log
        self._exits: dict[int, int] = {}
        fd = theirs.fileno()
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), CONTROL_FD_VARIABLE: str(fd)}
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kserve_runtimes.zygote", "--framework", framework, *arguments],
                env=environ,
                pass_fds=(fd,),
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def wait_ready(self) -> ZygoteReady:
        """Until everything is imported."""
        message = self.hear()
        assert isinstance(message, ZygoteReady), message
        return message

    def hear(self) -> ForkRequest | Forked | ZygoteExit | ZygoteReady:
        """Its next message."""
        received = receive(self.control)
        assert received is not None, self.log.read_text(encoding="utf-8")
        return received[0]

    def fork(self, environ: Mapping[str, str], fds: Mapping[str, int], *, token: str = "t") -> int:
        """A new replica's pid."""
        request = ForkRequest(token=token, environ=dict(environ), fd_variables=tuple(fds))
        send(self.control, request, fds=tuple(fds.values()))
        message = self._hear_other_than_exits()
        assert isinstance(message, Forked), message
        assert message.token == token
        return message.pid

    def wait_exit(self, pid: int) -> int:
        """How a replica ended, once it has."""
        while pid not in self._exits:
            message = self.hear()
            assert isinstance(message, ZygoteExit), message
            self._exits[message.pid] = message.exit_code
        return self._exits.pop(pid)

    def _hear_other_than_exits(self) -> ForkRequest | Forked | ZygoteReady:
        while isinstance(message := self.hear(), ZygoteExit):
            self._exits[message.pid] = message.exit_code
        return message
