"""Both homes of a store behind one face, so that one suite of tests runs against each."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId, VersionNumber
from botshard.store.base import ObjectStore
from botshard.store.urls import open_store
from tests.servers import MinioServer

__all__ = ["FilesHome", "Home", "MinioHome", "make_bot", "small_disk", "start_process"]

_ROOT = Path(__file__).parents[2]


class Home:
    """Where a test's store is."""

    url: str
    environ: Mapping[str, str]

    def open(self) -> ObjectStore:
        """A store as any process would open it."""
        return open_store(self.url, self.environ)

    def take_away(self) -> None:
        """Make it unreachable, as an unmounted disk or a dead server would."""
        raise NotImplementedError

    def bring_back(self) -> None:
        """Undo `take_away`."""
        raise NotImplementedError


@dataclass
class FilesHome(Home):
    """A folder."""

    root: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.url = f"file://{self.root}"

    def take_away(self) -> None:
        self.root.rename(self.root.with_suffix(".away"))

    def bring_back(self) -> None:
        self.root.with_suffix(".away").rename(self.root)


@dataclass
class MinioHome(Home):
    """A prefix in a bucket of its own."""

    server: MinioServer

    def __post_init__(self) -> None:
        self.url = self.server.url(f"test-{secrets.token_hex(6)}", "some/prefix")
        self.environ = self.server.environ

    def take_away(self) -> None:
        self.server.kill()

    def bring_back(self) -> None:
        self.server.start()


def start_process(home: Home, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that runs `tests.store.processes` with these arguments against a home's store."""
    command = [sys.executable, "-m", "tests.store.processes", home.url, *arguments]
    environ = {**os.environ, **home.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=_ROOT, env=environ, stdout=subprocess.PIPE, text=True)


def make_bot(name: str, *, versions: int = 1) -> Bot:
    """A plausible bot."""
    family_key = FamilyKey(GroupName("realtime"), Framework("torch"))
    made = tuple(
        Version(VersionNumber(number), f"{number:064x}", 1000, family_key, published_at_s=1_700_000_000)
        for number in range(1, versions + 1)
    )
    return Bot(BotId(name), TenantId("acme"), made)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of this size at `path`, a folder."""
    path.mkdir(exist_ok=True)
    mounted = os.geteuid() == 0 and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=False, capture_output=True
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("only root may mount a small disk; the same is tested by a limit on file sizes")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
