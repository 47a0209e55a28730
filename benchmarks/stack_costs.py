"""What the processes of a local stack take, by their kind."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import psutil

from botshard.local.stack_process import StackProcess

__all__ = ["StackProcesses"]


@dataclass(frozen=True, slots=True)
class StackProcesses:
    """The processes of a stack as they were at one moment."""

    kinds: Mapping[str, Sequence[psutil.Process]]

    @classmethod
    def of(cls, stack: StackProcess, /) -> Self:
        """Those of a stack that runs now."""
        records, said = stack.records(), stack.stack()
        pids: dict[str, list[int]] = {"front and keeper": [said["frontPid"], said["keeperPid"]]}
        for record in records["processes"]:
            pids.setdefault(f"{record['kind']}s", []).append(record["pid"])
        pids["zygotes"] = [record["pid"] for record in records["zygotes"]]
        return cls({kind: [psutil.Process(pid) for pid in found] for kind, found in pids.items()})

    def memory_bytes(self) -> dict[str, int]:
        """Proportional set sizes, so that pages which several share count once."""
        return {kind: sum(_pss_bytes(process) for process in found) for kind, found in self.kinds.items()}

    def cpu_s(self) -> dict[str, float]:
        """User and system time until now."""
        return {kind: sum(sum(process.cpu_times()[:2]) for process in found) for kind, found in self.kinds.items()}

    def cpu_ratios(self, watch_s: float, /) -> dict[str, float]:
        """Cores that each kind keeps busy while it is watched."""
        before = self.cpu_s()
        time.sleep(watch_s)
        return {kind: (after_s - before[kind]) / watch_s for kind, after_s in self.cpu_s().items()}


def _pss_bytes(process: psutil.Process) -> int:
    return int(process.memory_full_info().pss)
