"""Where a bot runs: on the event loop if it is loaded and known to be quick, else on a model's thread.

Handing a request to a thread and back costs more than a small model takes. What is slow, large, or not yet known must
not hold up the loop, so a bot's first requests go to a thread, and so does every one once its bot has become slow.

Batching would go in here: between `pin_quick` and `unpin`, instead of `LoadedBot.predict`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from botshard.sharding.ids import BotId, VersionNumber
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.pool import Call, Pool
from kserve_runtimes.core.residents import Slot

__all__ = ["Inference"]

T = TypeVar("T")

_QUICK_S: Final = 0.0005
"""What the loop may be held up by one request: less than a thread's turn."""
_SLOWER: Final = 0.1
_OUTLIER: Final = 8.0
"""Slower runs move the estimate by a tenth of at most so many times itself: most of them waited for a CPU."""
_SPARE_ENTRIES: Final = 256


class Inference:
    """Knows how long bots take, and decides by it. Lives on the event loop."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._usual_s: dict[BotId, tuple[VersionNumber, float]] = {}

    def pin_quick(self, call: Call, /) -> Slot | None:
        """The bot, pinned, if it may run here and now; None: `run` it.

        Raises: what `Pool.pin` raises.
        """
        bot_id = BotId(call.bot_id)
        usual = self._usual_s.get(bot_id)
        if usual is None or usual[1] > _QUICK_S:
            return None
        entry = self._pool.residents.get(bot_id)
        if entry is None or entry.slot is None or entry.slot.bot.version.number != usual[0]:
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

    def unpin(self, slot: Slot, took_s: float, /) -> None:
        """A quick run is over; errors count as runs."""
        self._pool.residents.unpin(slot.bot.id, slot)
        self._pool.metrics.predict_seconds.observe(took_s)
        self.note(slot.bot, took_s)

    def note(self, bot: LoadedBot, took_s: float, /) -> None:
        """A run of a small request took so long."""
        usual = self._usual_s.get(bot.id)
        if usual is None or usual[0] != bot.version.number:
            if len(self._usual_s) > 2 * len(self._pool.residents) + _SPARE_ENTRIES:
                self._usual_s.clear()
            self._usual_s[bot.id] = (bot.version.number, took_s)
            return
        usual_s = usual[1]
        if took_s < usual_s:
            usual_s = (usual_s + took_s) / 2
        else:
            usual_s += (min(took_s, _OUTLIER * usual_s) - usual_s) * _SLOWER
        self._usual_s[bot.id] = (usual[0], usual_s)

    async def run(self, call: Call, job: Callable[[LoadedBot], T], /, *, deadline_s: float) -> tuple[LoadedBot, T]:
        """`job` with the bot on a model's thread, loaded first if it is absent; see `Pool.run`."""
        return await self._pool.run(call, job, deadline_s=deadline_s)
