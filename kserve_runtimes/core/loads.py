"""Loads with room for them: what waits for room holds none, so that nothing waits for each other.

A load that somebody asked for waits for a free loader, then for room. One that nobody waits for has its room before it
begins and is done at once: where its bot turns out too large, it is given up.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from botshard.sharding.catalog import Version
from kserve_runtimes.core.resident import BotLoad, Resident, Slot
from kserve_runtimes.core.room import Claim, Room

__all__ = ["Loads"]


class Loads:
    """Loads bots into the room of one replica. Lives on the event loop; `load` runs in threads."""

    def __init__(self, load: BotLoad, room: Room, /, *, executor: Executor, loaders: int) -> None:
        self._load = load
        self._room = room
        self._executor = executor
        # Room is claimed only by those whose load begins at once: whoever leaves later is missed for less time.
        self._loaders = asyncio.Semaphore(loaders)

    async def run(self, entry: Resident, version: Version, claim: Claim | None) -> Slot | None:
        """The bot with a claim of its measured size.

        Args:
            entry: whose bot it is.
            version: which of it.
            claim: room that was got already; None: wait for it.

        Returns: None where the bot is larger than its claim, there is no room for the rest, and an old version serves.

        Raises: what the load raises.
        """
        if claim is not None:
            slot = await self._try(entry, version, claim)
            if slot is not None or entry.slot is not None:
                return slot
        async with self._loaders:
            while True:
                claim = await self._room.claim(entry.expected_bytes)
                entry.has_room = True
                slot = await self._try(entry, version, claim)
                if slot is not None:
                    return slot
                # Its turn comes again, now with the right size.
                entry.has_room = False

    async def _try(self, entry: Resident, version: Version, claim: Claim) -> Slot | None:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        try:
            bot = await loop.run_in_executor(self._executor, self._load, entry.id, version)
        except BaseException:
            self._room.release(claim)
            raise
        entry.known_bytes = bot.footprint_bytes
        self._room.share(bot.shared_bytes)
        if self._room.use(claim, bot.footprint_bytes):
            return Slot(bot, claim, loop.time() - started_s)
        self._room.release(claim)
        return None
