"""What a stack is told when it starts, and where in its folder everything is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SETTINGS_VARIABLE", "StackFolder", "StackSettings"]

SETTINGS_VARIABLE = "BOTSHARD_STACK"
"""Environment variable in which front and keeper hand the settings to each other. Holds no credential."""

_MAX_SOCKET_PATH_BYTES = 100  # Linux takes 108 with the terminating zero


@dataclass(frozen=True, slots=True)
class StackFolder:
    """Paths below the folder that `botshard up` is given. Only `store`, `cache` and `ports.json` outlive a stop."""

    path: Path

    @property
    def store(self) -> Path:
        """The object store, where no other is given."""
        return self.path / "store"

    @property
    def cache(self) -> Path:
        """Artifacts on local disk, shared by all replicas."""
        return self.path / "cache"

    @property
    def ports(self) -> Path:
        """Which port each pool listened on, so that it does so again."""
        return self.path / "ports.json"

    @property
    def run(self) -> Path:
        """What exists only while the stack runs."""
        return self.path / "run"

    @property
    def home(self) -> Path:
        """The two documents of `botshard.local.home`."""
        return self.run / "home"

    @property
    def processes(self) -> Path:
        """Which processes belong to the stack: what a restarted keeper adopts."""
        return self.run / "processes.json"

    @property
    def stack(self) -> Path:
        """Pids and address of the running stack, for other commands."""
        return self.run / "stack.json"

    @property
    def roll(self) -> Path:
        """What `botshard roll` asks for, as long as it is not done."""
        return self.run / "roll.json"

    @property
    def lock(self) -> Path:
        """Locked while a stack runs in this folder; the kernel lets go of it with the last process."""
        return self.path / "lock"

    @property
    def notify_address(self) -> str:
        """Where processes of the stack say how they are (`NOTIFY_SOCKET`); abstract where the path is too long."""
        path = str(self.run / "notify")
        if len(path.encode()) <= _MAX_SOCKET_PATH_BYTES:
            return path
        return "@botshard-" + hashlib.blake2b(path.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class StackSettings:
    """Settings of one local stack."""

    folder: StackFolder
    store_url: str
    """`file:///…` or `s3://…`, without credentials (those stay in the environment)."""
    group_files: tuple[Path, ...]
    """Files and folders with pool groups."""
    host: str = "127.0.0.1"
    """Address of the router; pools always listen on loopback only."""
    port: int = 8080
    """Port of the router; 0 lets the system choose."""
    router_workers: int | None = None
    """Processes of the router; None: one, without a supervisor."""
    grpc_port: int = 0
    """The router's port for gRPC; 0: no gRPC."""
    cache_bytes: int | None = None
    """Bound on the artifacts in `folder.cache`; None: none."""
    log_format: str = "text"
    """`text` or `json`."""
    log_level: str = "INFO"
    drain_s: float = 15.0
    """How long a stop waits for requests in flight before it kills."""

    def to_json(self) -> str:
        """For the environment of the other process."""
        return json.dumps(
            {
                "folder": str(self.folder.path),
                "store_url": self.store_url,
                "group_files": [str(path) for path in self.group_files],
                "host": self.host,
                "port": self.port,
                "router_workers": self.router_workers,
                "grpc_port": self.grpc_port,
                "cache_bytes": self.cache_bytes,
                "log_format": self.log_format,
                "log_level": self.log_level,
                "drain_s": self.drain_s,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> StackSettings:
        """What `to_json` wrote."""
        said = json.loads(text)
        return cls(
            folder=StackFolder(Path(said.pop("folder"))),
            group_files=tuple(Path(path) for path in said.pop("group_files")),
            **said,
        )
