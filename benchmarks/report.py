"""What every benchmark reports: rows of one shape, printed as a table and written as JSON with where they were made."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Row", "parser", "publish", "where"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure against its peers and its bar."""

    what: str
    """What was measured, its unit at the end: `lookup with the hash kept, µs`."""
    ours: float
    peers: Mapping[str, float] = field(default_factory=dict)
    """The same figure of others, measured in the same run."""
    ratio: float | None = None
    """Ours against the first peer; None: there is none."""
    bar: str = ""
    """What was promised, as a person would write it: `≤ 0.3`."""
    ok: bool | None = None
    """Whether the bar is kept; None: there is no bar."""


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    return options


def publish(rows: Sequence[Row], json_file: Path | None) -> int:
    """Print the rows, and write them where that is wanted; the exit code: 1 where a bar is not kept."""
    width = max((len(row.what) for row in rows), default=0)
    for row in rows:
        peers = "  ".join(f"{name} {value:.4g}" for name, value in row.peers.items())
        ratio = "" if row.ratio is None else f"{row.ratio:.3g} x"
        verdict = {None: "", True: "ok", False: "MISSED"}[row.ok]
        print(f"{row.what:<{width}}  {row.ours:>10.4g}  {ratio:>9}  {row.bar:<12} {verdict:<6} {peers}".rstrip())
    if json_file is not None:
        document = {"where": where(), "rows": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 1 if any(row.ok is False for row in rows) else 0


def where() -> dict[str, object]:
    """What was measured, and on what machine."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {
        "commit": commit,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
    }
