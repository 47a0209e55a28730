"""Where a bot runs: on the event loop if it is loaded and known to be quick, else on a model's thread.

Handing a request to a thread and back costs more than a small model takes. What is slow, large, or not yet known must
not hold up the loop, so a bot's first requests go to a thread, and so does every one once its bot has become slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Final, NamedTuple, TypeVar

from botshard.sharding.ids import BotId, VersionNumber
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.pool import Call, Pool
from kserve_runtimes.core.resident import Slot

__all__ = ["Inference", "Stopwatch", "Took"]

T = TypeVar("T")

_QUICK_S: Final = 0.001
"""What the loop may be held up by one request. A small model takes a tenth of it, but not with cold caches."""
_FORGOTTEN: Final = 1.05
"""The shortest wall time of late may have grown by so much a run."""
_SLOWER: Final = 0.1
"""Share of a longer CPU time that the estimate takes over; of a shorter one it takes half."""
_LONG_IN_A_ROW: Final = 8
_SPARE_ENTRIES: Final = 256


class Took(NamedTuple):
    """What one run took."""

    wall_s: float
    cpu_s: float
    """Of the thread that ran it."""


class Stopwatch:
    """Started when it is made."""

    __slots__ = ("_cpu_s", "_wall_s")

    def __init__(self) -> None:
        self._wall_s = perf_counter()
        self._cpu_s = thread_time()

    def took(self) -> Took:
        """Since the start; on the thread that started it."""
        return Took(perf_counter() - self._wall_s, thread_time() - self._cpu_s)


@dataclass(slots=True)
class _Usual:
    """How long a bot's small requests take.

    Wall time alone would call every bot slow on a machine with other work, CPU time alone would call those quick whose
    framework computes in threads of its own. So: the shortest wall time of late, and the usual CPU time.
    """

    version: VersionNumber
    wall_s: float
    cpu_s: float
    long_in_a_row: int = 0

    @property
    def is_quick(self) -> bool:
        return self.wall_s <= _QUICK_S and self.cpu_s <= _QUICK_S

    def note(self, took: Took, /) -> None:
        wall_s, cpu_s = took
        self.wall_s = min(self.wall_s * _FORGOTTEN, wall_s)
        self.cpu_s += (cpu_s - self.cpu_s) * (0.5 if cpu_s < self.cpu_s else _SLOWER)

    def note_here(self, wall_s: float, /) -> None:
        """A run on the loop, where CPU time is not worth asking for: it is less than wall time."""
        if wall_s <= _QUICK_S:
            self.long_in_a_row = 0
            self.note(Took(wall_s, wall_s))
            return
        self.long_in_a_row += 1
        if self.long_in_a_row == _LONG_IN_A_ROW:
            # Slow by now, or out of luck: runs on a thread will tell.
            self.long_in_a_row = 0
            self.wall_s, self.cpu_s = wall_s, wall_s


class Inference:
    """Knows how long bots take, and decides by it. Lives on the event loop."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._usual: dict[BotId, _Usual] = {}

    def pin_quick(self, call: Call, /) -> Slot | None:
        """The bot, pinned, if it may run here and now; None: `run` it.

        Raises: what `Pool.pin` raises.
        """
        bot_id = BotId(call.bot_id)
        usual = self._usual.get(bot_id)
        if usual is None or not usual.is_quick:
            return None
        entry = self._pool.residents.get(bot_id)
        if entry is None or entry.slot is None or entry.slot.bot.version.number != usual.version:
            return None
        pinning = self._pool.pin(call)
        try:
            pinning.send(None)
        except StopIteration as done:
            slot: Slot = done.value
            self._pool.rates.note(bot_id)
            return slot
        pinning.close()  # it has to wait after all
        return None

    def unpin(self, slot: Slot, /) -> None:
        """The bot is not needed any more."""
        self._pool.residents.unpin(slot.bot.id, slot)

    def note_here(self, bot: LoadedBot, wall_s: float, /) -> None:
        """A request has run on the loop; one that failed as well."""
        self._pool.metrics.predict_seconds.observe(wall_s)
        usual = self._usual.get(bot.id)
        if usual is not None:
            usual.note_here(wall_s)

    def note(self, bot: LoadedBot, took: Took, /) -> None:
        """A small request has run on a thread."""
        usual = self._usual.get(bot.id)
        if usual is not None and usual.version == bot.version.number:
            usual.note(took)
            return
        if len(self._usual) > 2 * len(self._pool.residents) + _SPARE_ENTRIES:
            self._usual.clear()
        self._usual[bot.id] = _Usual(bot.version.number, took.wall_s, took.cpu_s)
