"""One bot of a replica: where it stands, what serves, who uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from botshard.sharding.catalog import Version
from botshard.sharding.ids import BotId
from botshard.sharding.residency import Residency
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.costs import BotCosts
from kserve_runtimes.core.failures import Failure
from kserve_runtimes.core.room import Claim

__all__ = ["BotLoad", "Resident", "Slot"]


class BotLoad(Protocol):
    """Loads one version of a bot; blocks, and is called from threads."""

    def __call__(self, bot_id: BotId, version: Version, /) -> LoadedBot:
        """The bot. Raises: anything, which becomes the reason of a failure."""
        ...


@dataclass(slots=True, eq=False)
class Slot:
    """A loaded bot and how many requests use it."""

    bot: LoadedBot
    claim: Claim
    load_s: float = 0.0
    """How long it took to load."""
    pins: int = 0


@dataclass(slots=True, eq=False)
class Resident:
    """One bot of this replica."""

    id: BotId
    wanted: Version
    state: Residency = Residency.ABSENT
    slot: Slot | None = None
    """What serves now; after a publish, the old version until the new one is resident."""
    loading: asyncio.Task[None] | None = None
    failure: Failure | None = None
    """Of `wanted`; with a slot it means that an older version goes on serving."""
    stale: set[Slot] = field(default_factory=set)
    """Swapped out and still in use."""
    known_bytes: int = 0
    """What it measured when it was in memory last; 0: it never was."""
    waiting: int = 0
    """Requests that wait for it."""
    has_room: bool = False
    """Whether its load has got the memory that it needs."""
    used_at_s: float = 0.0
    """When a request used it last, or when it was loaded."""
    costs: BotCosts | None = None
    """What it has cost since it was asked first; None: nobody has asked yet."""

    def counted(self) -> BotCosts:
        """What it has cost, to be added to."""
        if self.costs is None:
            self.costs = BotCosts()
        return self.costs

    @property
    def settled(self) -> bool:
        """Whether it serves, or is known not to."""
        return self.slot is not None or self.failure is not None

    @property
    def needs_load(self) -> bool:
        """Whether the version that is wanted is not the one that serves."""
        return self.slot is None or self.slot.bot.version.number != self.wanted.number

    @property
    def expected_bytes(self) -> int:
        """How much memory it will need, as far as anybody knows before it was measured."""
        return self.known_bytes or self.wanted.resources.memory_bytes or self.wanted.size_bytes

    def slots(self) -> Iterator[Slot]:
        """Everything of it that is in memory."""
        if self.slot is not None:
            yield self.slot
        yield from self.stale
