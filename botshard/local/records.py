"""What a keeper writes down for the next one: processes, zygotes, ports."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from botshard.local.zygotes import ZygoteRecord

__all__ = ["ProcessRecord", "Records", "read_ports", "write_json"]


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

    @staticmethod
    def write(path: Path, processes: Iterable[ProcessRecord], zygotes: Iterable[ZygoteRecord]) -> None:
        """Replace what was written, whole. Raises: OSError."""
        write_json(
            path,
            {
                "processes": [asdict(record) for record in processes],
                "zygotes": [asdict(record) for record in zygotes],
            },
        )


def read_ports(path: Path) -> dict[str, int]:
    """Port of each pool; none where nothing usable was written."""
    try:
        said: Mapping[str, object] = json.loads(path.read_bytes())
        return {str(name): int(str(port)) for name, port in said.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write_json(path: Path, document: object) -> None:
    """Replace a small file whole. Raises: OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(document))
    temporary.replace(path)
