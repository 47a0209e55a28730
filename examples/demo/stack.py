"""The programs that the demo runs beside itself: the local stack and, where wanted, MinIO."""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from botshard.local.front import running_stack
from botshard.local.home import LocalHome
from botshard.local.settings import StackFolder
from botshard.sharding.fleet import PoolStatus
from botshard.store.urls import open_store

__all__ = ["DemoError", "Stack", "minio", "wait_until"]

T = TypeVar("T")

_POLL_S = 0.05

GROUPS = """\
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: realtime}
spec: {class: realtime, replicas: {min: 1, max: 2}, pool: {memory: 512Mi, bots: 500}}
---
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: non-realtime}
spec:
  class: non-realtime
  replicas: {min: 0, max: 2}
  pool: {memory: 512Mi, bots: 500}
  timeouts: {request: 30s, coldStart: 30s, idle: 4s}   # so short only to be watched
"""


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def wait_until(check: Callable[[], T | None], what: str, *, within_s: float) -> T:
    """The first true value of `check`. Raises: DemoError when it does not come in time."""
    deadline_s = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline_s:
            raise DemoError(f"{what} has not happened within {within_s:g} s")
        time.sleep(_POLL_S)


class Stack:
    """`botshard up` in a folder of the demo. Usable as a context."""

    def __init__(self, folder: Path, store_url: str, environ: Mapping[str, str]) -> None:
        self.folder = StackFolder(folder / "stack")
        self.log_path = folder / "stack.log"
        self._groups = folder / "groups.yaml"
        self._groups.write_text(GROUPS)
        self._store_url = store_url
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        argv = [sys.executable, "-m", "botshard.cli", "up", str(self.folder.path), "--port", "0"]
        argv += ["--store", self._store_url, "--groups", str(self._groups)]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env=self._environ, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()

    @property
    def url(self) -> str:
        """Of the router, once it serves."""
        return wait_until(self._serving_url, "the router's start", within_s=60)

    def statuses(self) -> list[PoolStatus]:
        """How the pools are."""
        return list(LocalHome(open_store(self.folder.home.as_uri(), self._environ)).statuses().values())

    def explain_failure(self) -> str:
        """The end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-25:])

    def _serving_url(self) -> str | None:
        if self._process is not None and self._process.poll() is not None:
            raise DemoError(f"the stack has ended:\n{self.explain_failure()}")
        said = running_stack(self.folder)
        if said is None:
            return None
        url = str(said["url"])
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=2)
        try:
            connection.request("GET", "/v2/health/ready")
            return url if connection.getresponse().status == http.HTTPStatus.OK else None
        except OSError:
            return None
        finally:
            connection.close()


@contextmanager
def minio(folder: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """A MinIO server with invented credentials, as (store URL, environment to use it).

    Raises: DemoError where MINIO_BIN names none.
    """
    binary = environ.get("MINIO_BIN")
    if not binary or not os.access(binary, os.X_OK):
        raise DemoError("STORE=minio needs MINIO_BIN=/path/to/minio (from min.io/download, or go install it)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    user, password = f"demo{secrets.token_hex(4)}", secrets.token_hex(16)
    server = subprocess.Popen(
        [binary, "server", str(folder / "minio"), "--address", f"127.0.0.1:{port}", "--quiet"],
        env={**environ, "MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(port), "MinIO's start", within_s=30)
        credentials = {"AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": password}
        yield f"s3://botshard/demo?endpoint=http://127.0.0.1:{port}", {**environ, **credentials}
    finally:
        server.terminate()
        server.wait(10)


def _answers(port: int) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/minio/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
