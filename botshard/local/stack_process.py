"""A local stack as a child process: for tests, the demo, benchmarks, and whoever embeds one in a program."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from botshard.local.front import StackError, running_stack
from botshard.local.home import LocalHome
from botshard.local.settings import StackFolder
from botshard.sharding.fleet import PoolStatus
from botshard.store.urls import open_store

__all__ = ["StackProcess"]

_POLL_S = 0.05
_STOP_S = 30.0


class StackProcess:
    """`botshard up` in `folder`, on a port that the system chooses. Usable as a context.

    Args:
        folder: of the stack.
        groups: file with pool groups; None: the default ones.
        store_url: None: a folder below `folder`.
        environ: of the process, credentials of the store among it.
        log: file that takes what the stack prints.
    """

    def __init__(
        self,
        folder: Path,
        /,
        *,
        groups: Path | None = None,
        store_url: str | None = None,
        environ: Mapping[str, str],
        log: Path,
    ) -> None:
        self.folder = StackFolder(folder)
        self.store_url = store_url or self.folder.store.as_uri()
        self.environ = dict(environ)
        self.log_path = log
        self._groups = groups
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, arguments: Sequence[str] = ()) -> None:
        """Start it; `wait_until_serving` tells when it serves."""
        argv = [sys.executable, "-m", "botshard.cli", "up", str(self.folder.path), "--port", "0"]
        argv += ["--store", self.store_url, *arguments]
        if self._groups is not None:
            argv += ["--groups", str(self._groups)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env=self.environ, start_new_session=True)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it as Ctrl-C does; requests in flight are finished."""
        if self._process is None:
            return
        # The front that was started may have died and been replaced by another one.
        said = running_stack(self.folder)
        front_pid = int(str(said["frontPid"])) if said is not None else self._process.pid
        os.kill(front_pid, number)
        deadline_s = time.monotonic() + _STOP_S
        while running_stack(self.folder) is not None and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        self._process.wait(_STOP_S)
        self._process = None

    def forget(self) -> None:
        """Take the exit code of a stack that was killed, so that it may be started again."""
        if self._process is not None:
            self._process.wait(_STOP_S)
            self._process = None

    @property
    def url(self) -> str:
        """Of the router, as the stack says. Raises: StackError where no stack runs."""
        said = running_stack(self.folder)
        if said is None:
            raise StackError(f"no stack runs in {self.folder.path}")
        return str(said["url"])

    def wait_until_serving(self, *, within_s: float = 60.0) -> str:
        """URL of the router, once it serves.

        Raises: StackError where the stack has ended, with the end of its log, or does not serve in time.
        """
        deadline_s = time.monotonic() + within_s
        while not self._is_serving():
            if self._process is None or self._process.poll() is not None:
                raise StackError(f"the stack has ended:\n{self.log_tail()}")
            if time.monotonic() > deadline_s:
                raise StackError(f"the router does not serve after {within_s:g} s:\n{self.log_tail()}")
            time.sleep(_POLL_S)
        return self.url

    def statuses(self) -> Mapping[str, PoolStatus]:
        """How the pools are, by name."""
        statuses = LocalHome(open_store(self.folder.home.as_uri(), self.environ)).statuses()
        return {str(name): status for name, status in statuses.items()}

    def stack(self) -> dict[str, Any]:
        """What the stack says of itself: its address and the pids of front and keeper."""
        found: dict[str, Any] = json.loads(self.folder.stack.read_bytes())
        return found

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The processes that the keeper has written down, under `processes` and `zygotes`."""
        found: dict[str, list[dict[str, Any]]] = json.loads(self.folder.processes.read_bytes())
        return found

    def log_tail(self, lines: int = 25) -> str:
        """The end of what it has printed."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _is_serving(self) -> bool:
        said = running_stack(self.folder)
        if said is None:
            return False
        connection = http.client.HTTPConnection(urlsplit(str(said["url"])).netloc, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()
