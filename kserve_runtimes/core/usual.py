"""How long a bot's small requests take, so that the quick ones may run on the event loop."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple, Self

from botshard.sharding.ids import VersionNumber

__all__ = ["LONG_IN_A_ROW", "Took", "Usual"]

LONG_IN_A_ROW: Final = 8
"""Long runs on the loop after which a thread has to tell whether the bot is still quick."""
_QUICK_S: Final = 0.001
"""What the loop may be held up by one request. A small model takes a tenth of it, but not with cold caches."""
_FORGOTTEN: Final = 1.05
"""The shortest wall time of late may have grown by so much a run."""
_SLOWER: Final = 0.1
"""Share of a longer CPU time that the estimate takes over; of a shorter one it takes half."""


class Took(NamedTuple):
    """What one run took."""

    wall_s: float
    cpu_s: float
    """Of the thread that ran it."""


@dataclass(slots=True)
class Usual:
    """How long a bot's small requests take.

    Wall time alone would call every bot slow on a machine with other work, CPU time alone would call those quick whose
    framework computes in threads of its own. So: the shortest wall time of late, and the usual CPU time.
    """

    version: VersionNumber
    wall_s: float
    cpu_s: float
    long_in_a_row: int = 0

    @classmethod
    def of_sample(cls, version: VersionNumber, sample_s: float, /) -> Self:
        """By the request that the bot was warmed up with; 0: none was, which is as good as slow."""
        return cls(version, sample_s or inf, sample_s or inf)

    @property
    def is_quick(self) -> bool:
        """Whether a run may hold up the loop."""
        return self.wall_s <= _QUICK_S and self.cpu_s <= _QUICK_S

    def note(self, took: Took, /) -> None:
        """A run on a thread."""
        wall_s, cpu_s = took
        if self.wall_s == inf:
            self.wall_s, self.cpu_s = took
            return
        self.wall_s = min(self.wall_s * _FORGOTTEN, wall_s)
        self.cpu_s += (cpu_s - self.cpu_s) * (0.5 if cpu_s < self.cpu_s else _SLOWER)

    def note_here(self, wall_s: float, /) -> None:
        """A run on the loop, where CPU time is not worth asking for: it is less than wall time."""
        if wall_s <= _QUICK_S:
            self.long_in_a_row = 0
            self.note(Took(wall_s, wall_s))
            return
        self.long_in_a_row += 1
        if self.long_in_a_row == LONG_IN_A_ROW:
            # Slow by now, or out of luck: runs on a thread will tell.
            self.long_in_a_row = 0
            self.wall_s, self.cpu_s = wall_s, wall_s
