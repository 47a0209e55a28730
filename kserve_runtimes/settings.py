"""Settings of one replica, from `RUNTIME_*` environment variables: read once, checked whole, all errors together."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.ids import Framework, PoolName, check_pool_name
from botshard.sharding.units import parse_bytes, parse_duration_s

__all__ = ["FRAMEWORKS", "LOG_FORMAT", "VARIABLES", "Settings", "read_settings"]

T = TypeVar("T")

FRAMEWORKS = ("torch", "tensorflow")
LOG_FORMAT = "RUNTIME_LOG_FORMAT"
"""Also read by a zygote, which has no other settings."""
VARIABLES = (
    "RUNTIME_POOL",
    "RUNTIME_REPLICA",
    "RUNTIME_FRAMEWORK",
    "RUNTIME_STORE_URL",
    "RUNTIME_CACHE_DIR",
    "RUNTIME_LISTEN_FD",
    "RUNTIME_HTTP_PORT",
    "RUNTIME_GRPC_PORT",
    "RUNTIME_POLL_INTERVAL_S",
    "RUNTIME_REPORT_INTERVAL_S",
    "RUNTIME_POOL_MEMORY",
    "RUNTIME_LOADERS",
    "RUNTIME_MAX_BODY",
    "RUNTIME_THREADS",
    "RUNTIME_REQUEST_TIMEOUT_S",
    "RUNTIME_GRACE_S",
    LOG_FORMAT,
    "RUNTIME_LOG_LEVEL",
    "BOTSHARD_LIFELINE_FD",
)
"""Every variable that is read here. The store reads its own (`AWS_...`), the notices `NOTIFY_SOCKET`."""

_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_LOG_FORMATS = ("text", "json")
_FILE_POLL_S = 0.5
"""A poll of a folder is a stat or two."""
_S3_POLL_S = 1.0
"""A poll of a bucket is one or two requests; a change is still seen within two seconds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One replica's settings."""

    pool: PoolName
    """`RUNTIME_POOL`: the pool that this process is a replica of."""
    replica: str
    """`RUNTIME_REPLICA`: its name, unique within the pool; the host name by default, since a pod's is unique."""
    framework: Framework
    """`RUNTIME_FRAMEWORK`: `torch` or `tensorflow`."""
    store_url: str
    """`RUNTIME_STORE_URL`: `file:///folder` or `s3://bucket/prefix?endpoint=...`."""
    cache_dir: Path
    """`RUNTIME_CACHE_DIR`: folder for artifacts; replicas on one machine may share it."""
    listen_fd: int | None
    """`RUNTIME_LISTEN_FD`: an inherited listening socket; it wins over `http_port`."""
    http_port: int
    """`RUNTIME_HTTP_PORT`, 8080 (KServe's); 0: any free one."""
    grpc_port: int
    """`RUNTIME_GRPC_PORT`; 0, the default: no gRPC."""
    poll_interval_s: float
    """`RUNTIME_POLL_INTERVAL_S`: how often table and catalog are polled; 0.5 for a folder, 1 for S3."""
    report_interval_s: float
    """`RUNTIME_REPORT_INTERVAL_S`, 5: how often this replica reports when nothing happens."""
    pool_memory_bytes: int | None
    """`RUNTIME_POOL_MEMORY`: a bot larger than this is refused; unset: no bound."""
    loaders: int
    """`RUNTIME_LOADERS`, 2: bots that are loaded at the same time."""
    max_body_bytes: int
    """`RUNTIME_MAX_BODY`, 16Mi: the largest body, as sent and once inflated."""
    threads: int
    """`RUNTIME_THREADS`, 1: threads that run models, and threads a framework may use inside an operation."""
    request_timeout_s: float | None
    """`RUNTIME_REQUEST_TIMEOUT_S`: deadline of a request; by default that of the pool's group in the table."""
    grace_s: float
    """`RUNTIME_GRACE_S`, 25: how long requests in flight may take once the replica was told to end."""
    log_format: str
    """`RUNTIME_LOG_FORMAT`: `text` or `json`."""
    log_level: str
    """`RUNTIME_LOG_LEVEL`: `DEBUG`, `INFO`, `WARNING` or `ERROR`."""
    lifeline_fd: int | None
    """`BOTSHARD_LIFELINE_FD`: a pipe's read end; end of file there ends this process as SIGTERM does."""


class _Reader:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[Problem] = []

    def value(self, name: str, parse: Callable[[str], T], expected: str, *, default: T) -> T:
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(Problem.of(name, text, str(error) if str(error).startswith("a ") else expected))
            return default

    def required(self, name: str, expected: str) -> str:
        text = self._environ.get(name, "").strip()
        if not text:
            self.problems.append(Problem.of(name, None, expected))
        return text

    def choice(self, name: str, options: tuple[str, ...], *, default: str | None) -> str:
        text = self._environ.get(name, "").strip() or default
        if text is None or text not in options:
            self.problems.append(Problem.of(name, text, f"one of {', '.join(options)}"))
            return options[0]
        return text


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return number

    return parse


def _duration(text: str) -> float:
    duration_s = parse_duration_s(text)
    if duration_s <= 0:
        raise ValueError("a duration above 0, such as 500ms or 5s")
    return duration_s


def _replica(text: str) -> str:
    if not _REPLICA.match(text):
        raise ValueError("a name of at most 128 letters, digits, '.', '_' or '-', a letter or digit first")
    return text


def _folder(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError("a folder, as an absolute path")
    return Path(text)


def read_settings(environ: Mapping[str, str], /) -> Settings:
    """The settings in `environ`.

    Raises: InvalidDocumentError with every variable that is missing or wrong.
    """
    reader = _Reader(environ)
    pool = reader.required("RUNTIME_POOL", "the name of a pool")
    problem = check_pool_name(pool, "RUNTIME_POOL") if pool else None
    reader.problems += [problem] if problem else []
    store_url = reader.required("RUNTIME_STORE_URL", "file:///absolute/folder or s3://bucket/prefix")
    cache_dir = reader.required("RUNTIME_CACHE_DIR", "a folder for artifacts, as an absolute path")
    number, duration = "a whole number", "a duration such as 500ms or 5s"
    settings = Settings(
        pool=PoolName(pool),
        replica=reader.value("RUNTIME_REPLICA", _replica, "a name", default=socket.gethostname()),
        framework=Framework(reader.choice("RUNTIME_FRAMEWORK", FRAMEWORKS, default=None)),
        store_url=store_url,
        cache_dir=reader.value("RUNTIME_CACHE_DIR", _folder, "a folder", default=Path(cache_dir)),
        listen_fd=reader.value("RUNTIME_LISTEN_FD", _integer(0, 1 << 20), number, default=None),
        http_port=reader.value("RUNTIME_HTTP_PORT", _integer(0, 65535), number, default=8080),
        grpc_port=reader.value("RUNTIME_GRPC_PORT", _integer(0, 65535), number, default=0),
        poll_interval_s=reader.value(
            "RUNTIME_POLL_INTERVAL_S",
            _duration,
            duration,
            default=_S3_POLL_S if store_url.startswith("s3:") else _FILE_POLL_S,
        ),
        report_interval_s=reader.value("RUNTIME_REPORT_INTERVAL_S", _duration, duration, default=5.0),
        pool_memory_bytes=reader.value("RUNTIME_POOL_MEMORY", parse_bytes, "a number of bytes", default=None),
        loaders=reader.value("RUNTIME_LOADERS", _integer(1, 64), number, default=2),
        max_body_bytes=reader.value("RUNTIME_MAX_BODY", parse_bytes, "a number of bytes", default=16 << 20),
        threads=reader.value("RUNTIME_THREADS", _integer(1, 256), number, default=1),
        request_timeout_s=reader.value("RUNTIME_REQUEST_TIMEOUT_S", _duration, duration, default=None),
        grace_s=reader.value("RUNTIME_GRACE_S", _duration, duration, default=25.0),
        log_format=reader.choice(LOG_FORMAT, _LOG_FORMATS, default="text"),
        log_level=reader.choice("RUNTIME_LOG_LEVEL", _LOG_LEVELS, default="INFO"),
        lifeline_fd=reader.value("BOTSHARD_LIFELINE_FD", _integer(0, 1 << 20), number, default=None),
    )
    if reader.problems:
        raise InvalidDocumentError("environment", reader.problems)
    return settings
