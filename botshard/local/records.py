"""What a keeper writes down for the next one: processes, zygotes, ports."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from botshard.local.zygotes import ZygoteRecord
from botshard.logs import fields

__all__ = ["Notes", "ProcessRecord", "Records", "read_ports", "write_json"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process of the stack."""

    kind: str
    """`router`, `controller` or `replica`."""
    pid: int
    start_ticks: int
    ready: bool
    pool: str = ""
    """Of a replica: its pool."""
    name: str = ""
    """Of a replica: its own name."""
    code_ticks: int = 0
    """When its code was read (`processes.Process.code_ticks`)."""


@dataclass(frozen=True, slots=True)
class Records:
    """`processes.json`."""

    processes: tuple[ProcessRecord, ...] = ()
    zygotes: tuple[ZygoteRecord, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Records:
        """What was written; nothing where it is missing or was not written by this version."""
        try:
            said = json.loads(path.read_bytes())
            return cls(
                tuple(ProcessRecord(**record) for record in said["processes"]),
                tuple(ZygoteRecord(**record) for record in said["zygotes"]),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return cls()

    def document(self) -> dict[str, object]:
        """What `read` reads."""
        return {
            "processes": [asdict(record) for record in self.processes],
            "zygotes": [asdict(record) for record in self.zygotes],
        }


def read_ports(path: Path) -> dict[str, int]:
    """Port of each pool; none where nothing usable was written."""
    try:
        said: Mapping[str, object] = json.loads(path.read_bytes())
        return {str(name): int(str(port)) for name, port in said.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write_json(path: Path, document: object) -> None:
    """Replace a small file whole. Raises: OSError; what was there before stays then."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(document))
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


class Notes:
    """Small files that should be as given. What a full disk refuses is tried again: no reason to end a stack."""

    def __init__(self) -> None:
        self._unwritten: dict[Path, object] = {}
        self._problem = ""

    def write(self, path: Path, document: object) -> None:
        """Replace a file whole, now or at one of the next `retry`."""
        self._unwritten[path] = document
        self.retry()

    def retry(self) -> None:
        """Write what could not be written so far."""
        for path, document in list(self._unwritten.items()):
            try:
                write_json(path, document)
            except OSError as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    why = "cannot write down what runs; a keeper that starts after this one would not find it"
                    _log.error(why, extra=fields(file=path, error=error.strerror))
                return
            del self._unwritten[path]
        if self._problem:
            self._problem = ""
            _log.info("what runs is written down again")
