"""The programs that the demo runs beside itself: the local stack and, where wanted, MinIO."""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from botshard.local.stack_process import StackProcess

__all__ = ["DemoError", "minio", "stack_in", "wait_until"]

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


def stack_in(folder: Path, store_url: str, environ: Mapping[str, str]) -> StackProcess:
    """A stack with the demo's pool groups, not started."""
    groups = folder / "groups.yaml"
    groups.write_text(GROUPS)
    log = folder / "stack.log"
    # Replicas usually report every five seconds; the demo looks at what they hold sooner than that.
    environ = {**environ, "RUNTIME_REPORT_INTERVAL_S": "1"}
    return StackProcess(folder / "stack", groups=groups, store_url=store_url, environ=environ, log=log)


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


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/minio/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
