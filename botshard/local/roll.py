"""Replacing all that runs, piece by piece, while it serves: what `botshard roll` asks for and the keeper does.

What is asked for is one moment, in `run/roll.json`: whatever has read its code before is to be replaced. How far that
is shows in what runs, so a keeper that dies in between is followed by one that goes on; replacing the keeper is the
first step anyway, since what starts the others should be as new as they are. Readers of the routing table come before
the controller, which writes it.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from botshard.local.pool import LocalPool
from botshard.local.processes import ticks_now
from botshard.local.program import Program
from botshard.local.records import write_json
from botshard.local.settings import StackFolder
from botshard.local.zygotes import Zygotes
from botshard.logs import fields

__all__ = ["Roll", "ask_for_roll", "asked_roll_ticks"]

_log = logging.getLogger(__name__)


def ask_for_roll(folder: StackFolder, /) -> int:
    """Have everything replaced that runs now; the moment that was written down. Raises: OSError."""
    ticks = ticks_now()
    write_json(folder.roll, {"beforeTicks": ticks})
    return ticks


def asked_roll_ticks(folder: StackFolder, /) -> int | None:
    """The moment before which code is too old; None where nobody asks, or not in a way that can be read."""
    try:
        return int(json.loads(folder.roll.read_bytes())["beforeTicks"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


@dataclass(eq=False)
class Roll:
    """The keeper's part in it. `own_ticks`: when the keeper itself was started."""

    folder: StackFolder
    own_ticks: int
    zygotes: Zygotes
    _doing: str = field(default="")

    def step(self, pools: Iterable[LocalPool], programs: Sequence[Program]) -> bool:
        """Do what can be done now; whether the keeper shall make room for the next one."""
        ticks = asked_roll_ticks(self.folder)
        if ticks is None:
            return False
        if self.own_ticks < ticks:
            self._tell("keeper")
            return True
        doing = self._replace(ticks, pools, programs)
        self._tell(doing)
        if not doing:
            with contextlib.suppress(FileNotFoundError):
                self.folder.roll.unlink()
            _log.info("all that runs was replaced")
        return False

    def _replace(self, ticks: int, pools: Iterable[LocalPool], programs: Sequence[Program]) -> str:
        """One step; what is being replaced, empty where nothing is left to be."""
        if not self.zygotes.replace_older(ticks):
            return "zygotes"
        for pool in sorted(pools, key=lambda pool: pool.spec.name):
            if not pool.is_newer_than(ticks):
                pool.replace_before_ticks = ticks
                return f"pool {pool.spec.name}"
        for program in programs:
            if not program.is_newer_than(ticks):
                if program.process is not None and program.process.code_ticks < ticks:
                    program.replace()
                return program.name
        return ""

    def _tell(self, doing: str) -> None:
        if doing and doing != self._doing:
            _log.info("replacing", extra=fields(what=doing))
        self._doing = doing
