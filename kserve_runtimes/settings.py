"""Settings of one replica, from `RUNTIME_*` environment variables: read once, checked whole, all errors together."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from botshard.environ import LIFELINE_FD, LOG_FORMATS, LOG_LEVELS, EnvironReader
from botshard.sharding.ids import Framework, PoolName, check_pool_name
from botshard.sharding.units import parse_duration_s
from botshard.store.reports import check_replica_url
from kserve_runtimes.core.queues import BOT_REQUESTS_A_THREAD, REQUESTS_A_THREAD

__all__ = ["DEVICES", "FRAMEWORKS", "LOG_FORMAT", "VARIABLES", "Settings", "read_settings"]

FRAMEWORKS = ("torch", "tensorflow", "onnx", "kserve")
DEVICES = ("auto", "cpu", "cuda")
_SDK = ("quiet", "asked")
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
    "RUNTIME_OVERCOMMIT",
    "RUNTIME_BOT_IDLE_S",
    "RUNTIME_CACHE_BYTES",
    "RUNTIME_ADVERTISE_URL",
    "RUNTIME_SHARE_ARTIFACTS",
    "RUNTIME_LOADERS",
    "RUNTIME_READY_SHARE",
    "RUNTIME_MAX_BODY",
    "RUNTIME_THREADS",
    "RUNTIME_DEVICE",
    "RUNTIME_ENCODING_CACHE",
    "RUNTIME_MODEL_CLASSES",
    "RUNTIME_REQUEST_TIMEOUT_S",
    "RUNTIME_GRACE_S",
    "RUNTIME_SDK",
    LOG_FORMAT,
    "RUNTIME_LOG_LEVEL",
    LIFELINE_FD,
)
"""Every variable that is read here. The store reads its own (`AWS_...`), the notices `NOTIFY_SOCKET`."""

_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
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
    """`RUNTIME_FRAMEWORK`: `torch`, `tensorflow`, `onnx` or `kserve`."""
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
    """`RUNTIME_REPORT_INTERVAL_S`, 5: how often this replica reports what is new; where only time is, every third."""
    pool_memory_bytes: int | None
    """`RUNTIME_POOL_MEMORY`: measured bytes of the bots in memory at most: some leave for others; unset: no bound."""
    overcommit: float
    """`RUNTIME_OVERCOMMIT`, 1: bots of the pool may add up to this multiple of its memory; over 1, bots of a realtime
    pool leave for others too."""
    bot_idle_after_s: float | None
    """`RUNTIME_BOT_IDLE_S`: a bot that nobody asked for so long leaves, unless the pool is realtime; unset: never."""
    cache_bytes: int | None
    """`RUNTIME_CACHE_BYTES`: bound on the artifacts in `cache_dir`; unset: none."""
    advertise_url: str | None
    """`RUNTIME_ADVERTISE_URL`: where replicas of the same pool reach this one, `http://host:port`; unset: nowhere."""
    share_artifacts: bool
    """`RUNTIME_SHARE_ARTIFACTS`, true: where `advertise_url` is set, artifacts are given to siblings and got from
    them."""
    loaders: int
    """`RUNTIME_LOADERS`, 2: bots that are loaded at the same time."""
    ready_share: float
    """`RUNTIME_READY_SHARE`, 1: a realtime pool is ready when its resident bots make up so much of the expected
    requests."""
    max_body_bytes: int
    """`RUNTIME_MAX_BODY`, 16Mi: the largest body, as sent and once inflated."""
    threads: int
    """`RUNTIME_THREADS`, 1: threads that run models, and threads a framework may use inside an operation."""
    device: str
    """`RUNTIME_DEVICE`, `auto`: where PyTorch runs models: `cpu`, `cuda`, or `auto`, a GPU where there is one."""
    encoding_cache_bytes: int
    """`RUNTIME_ENCODING_CACHE`, 0: bytes of encodings that a backbone remembers, for texts that come again; 0: none."""
    model_classes: frozenset[str]
    """`RUNTIME_MODEL_CLASSES`: classes of this image that bots of framework `kserve` may name, as `module:Class` with
    commas between; none by default."""
    bot_queue: int
    """`RUNTIME_BOT_QUEUE`, 256 a thread: requests of one bot that may wait or run."""
    queue: int
    """`RUNTIME_QUEUE`, 1024 a thread: requests that may wait or run."""
    server_timing: bool
    """`RUNTIME_SERVER_TIMING`, true: answers of inference say where their time went."""
    top_bots: int
    """`RUNTIME_TOP_BOTS`, 20: bots that have a label of their own in the metrics."""
    request_timeout_s: float | None
    """`RUNTIME_REQUEST_TIMEOUT_S`: deadline of a request; by default that of the pool's group in the table."""
    grace_s: float
    """`RUNTIME_GRACE_S`, 25: how long requests in flight may take once the replica was told to end."""
    sdk: str
    """`RUNTIME_SDK`: KServe's SDK is imported when the replica is `quiet`, or not before it is `asked` for."""
    log_format: str
    """`RUNTIME_LOG_FORMAT`: `text` or `json`."""
    log_level: str
    """`RUNTIME_LOG_LEVEL`: `DEBUG`, `INFO`, `WARNING` or `ERROR`."""
    lifeline_fd: int | None
    """`BOTSHARD_LIFELINE_FD`: a pipe's read end; end of file there ends this process as SIGTERM does."""


def read_settings(environ: Mapping[str, str], /) -> Settings:
    """The settings in `environ`.

    Raises: InvalidDocumentError with every variable that is missing or wrong.
    """
    reader = EnvironReader(environ)
    pool = reader.required("RUNTIME_POOL", "the name of a pool")
    problem = check_pool_name(pool, "RUNTIME_POOL") if pool else None
    reader.problems += [problem] if problem else []
    store_url = reader.required("RUNTIME_STORE_URL", "file:///absolute/folder or s3://bucket/prefix")
    cache_dir = reader.required("RUNTIME_CACHE_DIR", _FOLDER)
    framework = reader.required("RUNTIME_FRAMEWORK", "one of " + ", ".join(FRAMEWORKS))
    poll_s = _S3_POLL_S if store_url.startswith("s3:") else _FILE_POLL_S
    threads = reader.integer("RUNTIME_THREADS", 1, at_least=1, at_most=256)
    settings = Settings(
        pool=PoolName(pool),
        replica=reader.parsed("RUNTIME_REPLICA", _replica, socket.gethostname(), _REPLICA_NAME),
        framework=Framework(reader.choice("RUNTIME_FRAMEWORK", FRAMEWORKS, FRAMEWORKS[0]) if framework else ""),
        store_url=store_url,
        cache_dir=reader.parsed("RUNTIME_CACHE_DIR", _folder, Path(cache_dir), _FOLDER),
        listen_fd=reader.fd("RUNTIME_LISTEN_FD"),
        http_port=reader.integer("RUNTIME_HTTP_PORT", 8080, at_least=0, at_most=65535),
        grpc_port=reader.integer("RUNTIME_GRPC_PORT", 0, at_least=0, at_most=65535),
        poll_interval_s=reader.parsed("RUNTIME_POLL_INTERVAL_S", _duration, poll_s, _DURATION),
        report_interval_s=reader.parsed("RUNTIME_REPORT_INTERVAL_S", _duration, 5.0, _DURATION),
        pool_memory_bytes=reader.bytes("RUNTIME_POOL_MEMORY", 0) or None,
        overcommit=reader.parsed("RUNTIME_OVERCOMMIT", _multiple, 1.0, "a number of at least 1"),
        bot_idle_after_s=reader.parsed("RUNTIME_BOT_IDLE_S", _duration, 0.0, _DURATION) or None,
        cache_bytes=reader.bytes("RUNTIME_CACHE_BYTES", 0) or None,
        advertise_url=reader.parsed("RUNTIME_ADVERTISE_URL", _address, "", "http://host:port") or None,
        share_artifacts=reader.boolean("RUNTIME_SHARE_ARTIFACTS", default=True),
        loaders=reader.integer("RUNTIME_LOADERS", 2, at_least=1, at_most=64),
        ready_share=reader.parsed("RUNTIME_READY_SHARE", _share, 1.0, "a number from 0 to 1"),
        max_body_bytes=reader.bytes("RUNTIME_MAX_BODY", 16 << 20),
        device=reader.choice("RUNTIME_DEVICE", DEVICES, DEVICES[0]),
        encoding_cache_bytes=reader.bytes("RUNTIME_ENCODING_CACHE", 0),
        model_classes=reader.parsed("RUNTIME_MODEL_CLASSES", _classes, frozenset(), _CLASSES),
        threads=threads,
        bot_queue=reader.integer("RUNTIME_BOT_QUEUE", BOT_REQUESTS_A_THREAD * threads, at_least=1, at_most=1 << 20),
        queue=reader.integer("RUNTIME_QUEUE", REQUESTS_A_THREAD * threads, at_least=1, at_most=1 << 20),
        server_timing=reader.boolean("RUNTIME_SERVER_TIMING", default=True),
        top_bots=reader.integer("RUNTIME_TOP_BOTS", 20, at_least=0, at_most=1000),
        request_timeout_s=reader.parsed("RUNTIME_REQUEST_TIMEOUT_S", _duration, 0.0, _DURATION) or None,
        grace_s=reader.parsed("RUNTIME_GRACE_S", _duration, 25.0, _DURATION),
        sdk=reader.choice("RUNTIME_SDK", _SDK, "quiet"),
        log_format=reader.choice(LOG_FORMAT, LOG_FORMATS, "text"),
        log_level=reader.choice("RUNTIME_LOG_LEVEL", LOG_LEVELS, "INFO"),
        lifeline_fd=reader.fd(LIFELINE_FD),
    )
    reader.finish("environment of the replica")
    return settings


_CLASSES = "names of classes as module:Class, with commas between"
_DURATION = "a duration above 0, such as 500ms or 5s"
_FOLDER = "a folder for artifacts, as an absolute path"
_REPLICA_NAME = "a name of at most 128 letters, digits, '.', '_' or '-', a letter or digit first"


def _duration(text: str) -> float:
    duration_s = parse_duration_s(text)
    if duration_s <= 0:
        raise ValueError(text)
    return duration_s


def _multiple(text: str) -> float:
    multiple = float(text)
    if not 1 <= multiple < float("inf"):
        raise ValueError(text)
    return multiple


def _address(text: str) -> str:
    address = text.removesuffix("/")
    if check_replica_url(address) is not None:
        raise ValueError(text)
    return address


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError(text)
    return share


def _classes(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        module, _, own = name.partition(":")
        if not own.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise ValueError(name)
    return frozenset(names)


def _replica(text: str) -> str:
    if not _REPLICA.match(text):
        raise ValueError(text)
    return text


def _folder(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError(text)
    return Path(text)
