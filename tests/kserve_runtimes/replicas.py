"""Replicas as real processes on real sockets: forked from a zygote, or started as a program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import orjson
import urllib3

from botshard.sharding.ids import PoolName
from tests.kserve_runtimes.fleet import ROOT, Fleet
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

__all__ = ["Answer", "Program", "Replica"]


class Answer:
    """An HTTP answer."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.data

    @property
    def json(self) -> Any:
        """The decoded body."""
        return orjson.loads(self.body)

    @property
    def error(self) -> str:
        """The text of an error, which is all that its body holds."""
        document = self.json
        assert list(document) == ["error"], document
        text: str = document["error"]
        return text


class Starter(Protocol):
    """What makes a process of settings and sockets."""

    def fork(self, environ: Mapping[str, str], fds: Mapping[str, int]) -> int:
        """The pid of a new replica, to which the fds were given."""
        ...

    def wait_exit(self, pid: int) -> int:
        """How it ended, once it has."""
        ...


class Program:
    """Starts replicas by `python -m kserve_runtimes`."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def fork(self, environ: Mapping[str, str], fds: Mapping[str, int]) -> int:
        """A new replica."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "kserve_runtimes"],
                env={**environ, **{name: str(fd) for name, fd in fds.items()}},
                pass_fds=tuple(fds.values()),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        self._processes[process.pid] = process
        return process.pid

    def wait_exit(self, pid: int) -> int:
        """Its exit code."""
        return self._processes.pop(pid).wait(timeout=20)


class Replica:
    """One replica on an inherited listening socket. A context that leaves nothing behind."""

    def __init__(
        self,
        starter: Starter | Zygote,
        fleet: Fleet,
        pool: PoolName,
        *,
        framework: str = "torch",
        replica: str = "r-1",
        listener: socket.socket | None = None,
        **more: str,
    ) -> None:
        self.pool = pool
        self.name = replica
        self._starter = starter
        self._own = listener is None
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._lifeline_read, self.lifeline = os.pipe()
        self.pid = starter.fork(
            fleet.environ(pool, framework, replica, **more),
            {"RUNTIME_LISTEN_FD": self._listener.fileno(), "BOTSHARD_LIFELINE_FD": self._lifeline_read},
        )
        os.close(self._lifeline_read)
        self.exit_code: int | None = None
        self.http = urllib3.PoolManager(retries=False, timeout=60.0, maxsize=64)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self, within_s: float = 40.0) -> Self:
        """Until it says that it is ready."""
        eventually(lambda: self.request("GET", "/pool/ready").status == 200, within_s=within_s)
        return self

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One exchange on a kept-alive connection."""
        return Answer(self.http.request(method, self.url + path, body=body, headers=headers, redirect=False))

    def get(self, path: str, **headers: str) -> Answer:
        """`GET`. Header names are given with `_` for `-`."""
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, document: object, **headers: str) -> Answer:
        """`POST` of JSON. Header names are given with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, orjson.dumps(document), {"content-type": "application/json", **named})

    def ask(self, bot_id: str, *texts: str, **headers: str) -> Answer:
        """The labels of texts."""
        tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts), 1], "data": list(texts)}
        return self.post(f"/v2/models/{bot_id}/infer", {"inputs": [tensor]}, **headers)

    def multiply(self, bot_id: str, *row: float, **headers: str) -> Answer:
        """What a linear bot makes of four numbers."""
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": list(row or (1.0, 2.0, 3.0, 4.0))}
        return self.post(f"/v2/models/{bot_id}/infer", {"inputs": [tensor]}, **headers)

    def bots(self) -> dict[str, int]:
        """Counts of bots by state."""
        counts: dict[str, int] = self.get("/pool/ready").json["bots"]
        return counts

    def metric(self, name: str, **labels: str) -> float:
        """One figure of `/metrics`; 0 where it is not there."""
        shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"{name}{{{shown}}}" if shown else name
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(wanted + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def stop(self, how: signal.Signals | None = signal.SIGTERM) -> int:
        """Its exit code, after a signal (None: whoever calls has ended it already)."""
        if self.exit_code is None:
            if how is not None:
                os.kill(self.pid, how)
            self.exit_code = self._starter.wait_exit(self.pid)
            self.release()
        return self.exit_code

    def release(self) -> None:
        """Close everything of ours that belongs to it; it has ended, and nobody can say how."""
        self.http.clear()
        self.cut_lifeline()
        if self._own:
            self._listener.close()

    def cut_lifeline(self) -> None:
        """Close our end of the lifeline."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1
