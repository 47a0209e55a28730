"""What one check of `botshard doctor` says, and the checks of this machine."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from botshard.sharding.units import GIBIBYTE, MEBIBYTE, format_bytes

__all__ = [
    "Check",
    "Verdict",
    "check_disk",
    "check_file_descriptors",
    "check_memory",
    "check_python",
    "check_system",
    "free_disk_bytes",
    "free_memory_bytes",
    "machine_checks",
]

_GOOD_FDS, _FEWEST_FDS = 4096, 1024
_GOOD_DISK_BYTES, _LEAST_DISK_BYTES = 2 * GIBIBYTE, 64 * MEBIBYTE
_GOOD_MEMORY_BYTES, _LEAST_MEMORY_BYTES = 2 * GIBIBYTE, 512 * MEBIBYTE
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED = Path("/sys/fs/cgroup/memory.current")


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """It works, or will; something is worth knowing."""
    FAIL = "fail"
    """Something will not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""
    """What to do; empty: nothing."""


def check_python(version: tuple[int, int, int], /) -> Check:
    """Whether this Python will do."""
    found = ".".join(map(str, version))
    if version < (3, 11, 0):
        return Check("python", Verdict.FAIL, found, "install Python 3.11, 3.12 or 3.13")
    if version >= (3, 14, 0):
        return Check("python", Verdict.WARN, found, "tested with 3.11 to 3.13; the frameworks may lag behind")
    return Check("python", Verdict.OK, found)


def check_system(system: str, /) -> Check:
    """Whether a local stack can run on this system: it follows its processes by pidfd."""
    found = f"{system} {platform.release()}"
    if system != "Linux":
        return Check("system", Verdict.WARN, found, "a local stack (botshard up) needs Linux; everything else works")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError):
        return Check("system", Verdict.FAIL, f"{found} without pidfd", "a local stack needs Linux 5.3 or newer")
    return Check("system", Verdict.OK, f"{found}, pidfd, {os.cpu_count()} cores")


def check_file_descriptors(soft: int, hard: int, /) -> Check:
    """Whether a router and its pools can hold enough connections."""
    count = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    if soft == resource.RLIM_INFINITY or soft >= _GOOD_FDS:
        return Check("file descriptors", Verdict.OK, count)
    most = 65536 if hard == resource.RLIM_INFINITY else hard
    verdict = Verdict.WARN if soft >= _FEWEST_FDS else Verdict.FAIL
    return Check("file descriptors", verdict, count, f"ulimit -n {min(most, 65536)} before botshard up")


def check_disk(free_bytes: int, folder: Path, /) -> Check:
    """Whether there is room for artifacts and their cache."""
    found = f"{format_bytes(free_bytes)} free at {folder}"
    if free_bytes < _LEAST_DISK_BYTES:
        return Check("disk", Verdict.FAIL, found, "free some, or give another folder with --folder")
    if free_bytes < _GOOD_DISK_BYTES:
        return Check("disk", Verdict.WARN, found, "little for artifacts and their cache; free some")
    return Check("disk", Verdict.OK, found)


def check_memory(free_bytes: int, /) -> Check:
    """Whether there is room for a replica of each framework."""
    found = f"{format_bytes(free_bytes)} available"
    advice = "a replica takes 120 MB with PyTorch and 350 MB with TensorFlow before its first bot"
    if free_bytes < _LEAST_MEMORY_BYTES:
        return Check("memory", Verdict.FAIL, found, advice)
    return (
        Check("memory", Verdict.WARN, found, advice)
        if free_bytes < _GOOD_MEMORY_BYTES
        else Check("memory", Verdict.OK, found)
    )


def free_disk_bytes(folder: Path, /) -> int:
    """Free bytes where `folder` is or would be made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def free_memory_bytes() -> int:
    """Available memory of the machine, or of the container where that is less."""
    import psutil

    available = int(psutil.virtual_memory().available)
    try:
        limit, used = _CGROUP_LIMIT.read_text(encoding="ascii").strip(), _CGROUP_USED.read_text(encoding="ascii")
        return min(available, int(limit) - int(used))
    except (OSError, ValueError):  # no such limit: the file is not there, or says `max`
        return available


def machine_checks(folder: Path, /) -> list[Check]:
    """All checks of this machine; `folder` is where a stack would keep its files."""
    version = sys.version_info
    return [
        check_python((version.major, version.minor, version.micro)),
        check_system(platform.system()),
        check_file_descriptors(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        check_disk(free_disk_bytes(folder), folder),
        check_memory(free_memory_bytes()),
    ]
