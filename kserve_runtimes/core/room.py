"""Memory for bots: how much there is, who has some, who waits for some, and who leaves for whom.

Whoever loads a bot claims its bytes first: what it measured last time, else what its author declared, else the size of
its files. The claim is put right when the bot was measured. So bots in memory and bots on their way never add up to
more than there is, and room is made before a load begins.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from botshard.sharding.ids import BotId
from kserve_runtimes.core.eviction import Keep

__all__ = ["Claim", "MemoryBounds", "Room"]


@dataclass(frozen=True, slots=True)
class MemoryBounds:
    """What bounds the bots in memory."""

    budget_bytes: int | None = None
    """Measured bytes of all of them together; None: no bound."""
    realtime_may_evict: bool = False
    """Whether the bound also holds in a realtime pool, where else everything is resident."""
    idle_after_s: float | None = None
    """Out of a pool that is not realtime goes a bot that nobody has asked for so long; None: it stays."""


@dataclass(slots=True, eq=False)
class Claim:
    """Bytes of memory that one loaded bot has, or will have."""

    bytes: int
    is_used: bool = False
    """Whether the bot is there already."""


class Room:
    """The memory of one replica. Lives on the event loop."""

    def __init__(
        self,
        budget_bytes: int | None,
        /,
        *,
        may_leave: Callable[[BotId], bool],
        evict: Callable[[BotId], None],
        on_left: Callable[[int], None],
    ) -> None:
        self._budget_bytes = budget_bytes
        self._may_leave = may_leave
        self._evict = evict
        self._on_left = on_left
        self._claimed_bytes = 0
        self._shared_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[Claim]]] = deque()
        self._is_pump_scheduled = False
        self.used_bytes = 0
        """Measured bytes of everything in memory, what drains included."""
        self.is_bounded = False
        """Whether the budget holds: without, everybody gets what he claims."""
        self.keep = Keep(budget_bytes or 0)

    @property
    def has_waiters(self) -> bool:
        """Whether some load waits for room."""
        return bool(self._waiting)

    async def claim(self, size_bytes: int, /) -> Claim:
        """Room for a bot that somebody asks for; others leave for it. Waits in turn until enough of them may.

        A bot that is larger than everything gets everything: whoever loads it sees that it is too large.
        """
        if not self._waiting and (claim := self._granted(size_bytes)):
            return claim
        turn: asyncio.Future[Claim] = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(turn.result())
            self.look_again()
            raise

    def try_claim(self, size_bytes: int, /, *, evict: bool) -> Claim | None:
        """Room for a bot that nobody waits for, if there is some at once.

        Args:
            size_bytes: how much.
            evict: whether others may leave for it.
        """
        return None if self._waiting else self._granted(size_bytes, evict=evict)

    def use(self, claim: Claim, size_bytes: int, /) -> bool:
        """The bot is loaded and measured; False where it is larger than its claim and there is no room for the rest."""
        more_bytes = size_bytes - claim.bytes
        if more_bytes > 0 and not self._make(more_bytes, evict=True):
            return False
        self._claimed_bytes += more_bytes
        claim.bytes, claim.is_used = size_bytes, True
        self.used_bytes += size_bytes
        if more_bytes < 0:
            self.look_again()
        return True

    def share(self, size_bytes: int, /) -> None:
        """What bots share (a backbone) has so many bytes now, once for all of them and for good; others leave for it.

        It is loaded with the first bot that needs it. Where nobody may leave yet, those who come next wait for it.
        """
        more_bytes = size_bytes - self._shared_bytes
        if more_bytes > 0:
            self._shared_bytes = size_bytes
            self._claimed_bytes += more_bytes
            self.used_bytes += more_bytes
            self._make(0, evict=True)

    def release(self, claim: Claim, /) -> None:
        """The bot has left memory, or will not come."""
        self._claimed_bytes -= claim.bytes
        if claim.is_used:
            self.used_bytes -= claim.bytes
            self._on_left(claim.bytes)
        claim.bytes, claim.is_used = 0, False
        self.look_again()

    def look_again(self) -> None:
        """Somebody may leave who could not before, or has left: see to those who wait, soon."""
        if self._waiting and not self._is_pump_scheduled:
            self._is_pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pump_scheduled = False
        while self._waiting:
            size_bytes, turn = self._waiting[0]
            if turn.done():  # given up
                self._waiting.popleft()
            elif claim := self._granted(size_bytes):
                self._waiting.popleft()
                turn.set_result(claim)
            else:
                return

    def _granted(self, size_bytes: int, *, evict: bool = True) -> Claim | None:
        if self._budget_bytes is not None:
            size_bytes = min(size_bytes, max(self._budget_bytes - self._shared_bytes, 0))
        if not self._make(size_bytes, evict=evict):
            return None
        self._claimed_bytes += size_bytes
        return Claim(size_bytes)

    def _make(self, size_bytes: int, *, evict: bool) -> bool:
        """Whether so much is free, after others have left where they may."""
        if self._budget_bytes is None or not self.is_bounded:
            return True
        lacking_bytes = self._claimed_bytes + size_bytes - self._budget_bytes
        if lacking_bytes <= 0:
            return True
        victims = self.keep.victims(lacking_bytes, self._may_leave) if evict else None
        for bot_id in victims or ():
            self._evict(bot_id)
        return victims is not None
