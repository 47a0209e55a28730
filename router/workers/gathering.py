"""What all workers have counted, for whoever of them was asked; what a gone one counted last is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from router.workers.seats import Member
from router.workers.sums import Family, Totals
from router.workers.wire import Message

__all__ = ["Gathering"]

_PATIENCE_S: Final = 1.0
"""For a worker that is busy; what it told last is taken then."""


@dataclass(eq=False, slots=True)
class _Round:
    asker: Member
    number: int
    """The asker's."""
    missing: set[Member]
    timer: asyncio.TimerHandle


class Gathering:
    """Asks all workers for one of them."""

    def __init__(self, members: Callable[[], Iterable[Member]], own: Callable[[], list[Family]]) -> None:
        """`members` are those that there are now, `own` is what the supervisor has counted itself."""
        self._members = members
        self._own = own
        self._totals = Totals()
        self._rounds: dict[int, _Round] = {}
        self._next = 0

    def begin(self, asker: Member, number: int, /) -> None:
        """A worker wants to know."""
        self._next += 1
        mine = self._next
        timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._finish, mine)
        self._rounds[mine] = _Round(asker, number, set(self._telling()), timer)
        for member in self._rounds[mine].missing:
            member.tell({"do": "tell", "round": mine})

    def take(self, member: Member, message: Message, /) -> None:
        """A worker tells what it has counted."""
        member.families, member.about = message["families"], message["about"]
        self._got(message.get("round"), member)

    def gone(self, member: Member, /) -> None:
        """A worker is no more."""
        self._totals.add(member.families)
        for mine in list(self._rounds):
            self._got(mine, member)

    def _telling(self) -> list[Member]:
        return [member for member in self._members() if member.serves.is_set() and not member.over.is_set()]

    def _got(self, mine: int | None, member: Member) -> None:
        found = None if mine is None else self._rounds.get(mine)
        if found is None or mine is None:
            return
        found.missing.discard(member)
        if not found.missing:
            self._finish(mine)

    def _finish(self, mine: int) -> None:
        found = self._rounds.pop(mine)
        found.timer.cancel()
        telling = self._telling()
        workers = [
            {
                "worker": member.seat.number,
                "pid": member.pid,
                "going": member.is_going,
                "families": member.families,
                "about": member.about,
            }
            for member in telling
        ]
        gone = [*self._totals.families([member.families for member in telling]), *self._own()]
        found.asker.tell({"do": "hear", "round": found.number, "workers": workers, "gone": gone})
