"""Real servers for tests: started on a free loopback port with a folder of their own, stopped without a trace."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import urllib3

from tests.waiting import eventually

__all__ = ["MINIO_HINT", "MinioServer", "free_port", "is_required", "minio_binary"]

MINIO_HINT = (
    "MINIO_BIN does not name a MinIO server: get one from min.io/download or by "
    "`go install github.com/minio/minio@latest`, then set MINIO_BIN to its path"
)


def is_required(server: str) -> bool:
    """Whether the absence of a server fails the tests that need it, instead of skipping them.

    `BOTSHARD_REQUIRE_SERVERS` lists the servers that must be there, by name.
    """
    return server in os.environ.get("BOTSHARD_REQUIRE_SERVERS", "").split()


def minio_binary() -> Path | None:
    """The MinIO server that the environment names, or one on the path."""
    found = os.environ.get("MINIO_BIN") or shutil.which("minio")
    return Path(found) if found and os.access(found, os.X_OK) else None


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class MinioServer:
    """A MinIO server with invented credentials; usable as a context.

    It keeps its port and data over `kill` and `restart`; `stop` removes the data.
    """

    def __init__(self, binary: Path, /) -> None:
        self._binary = binary
        self._folder = Path(tempfile.mkdtemp(prefix="minio-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.access_key = f"user{secrets.token_hex(6)}"
        self.secret_key = f"secret{secrets.token_hex(16)}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """What `open_store` needs besides a URL."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    @property
    def data(self) -> Path:
        """The folder with the server's data."""
        return self._folder / "data"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def url(self, bucket: str = "botshard", prefix: str = "") -> str:
        """URL of a store in a bucket of this server."""
        path = f"{bucket}/{prefix}" if prefix else bucket
        return f"s3://{path}?endpoint={self.endpoint}&region=us-east-1"

    def start(self) -> None:
        """Start, and return when requests are served."""
        self.data.mkdir(exist_ok=True)
        command = [str(self._binary), "server", str(self.data), "--address", f"127.0.0.1:{self.port}", "--quiet"]
        if shutil.which("setpriv"):  # a killed test run leaves no server behind
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        environ = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self._folder),
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "GOMAXPROCS": "2",
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        eventually(self._is_settled, within_s=30.0)
        if self._process.poll() is not None:
            text = (self._folder / "log").read_text(errors="replace")
            self.stop()
            raise RuntimeError(f"MinIO ended at once: {text[-2000:]}")

    def kill(self) -> None:
        """End it at once, as a crash would; the data stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Start again on the same port and data."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it and remove its data."""
        if self._process is not None:
            self._process.kill()  # it is asked for nothing more, and to end gracefully takes it 10 s
            self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_settled(self) -> bool:
        """Serving, or ended."""
        if self._process is None or self._process.poll() is not None:
            return True
        with urllib3.PoolManager(retries=False, timeout=2.0) as pools:
            ready: bool = pools.request("GET", f"{self.endpoint}/minio/health/cluster").status == 200
        return ready
