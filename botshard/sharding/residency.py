"""Where a bot stands on one replica: five states and the only transitions there are.

Everything about the life of a bot on a replica is decided by `TRANSITIONS`; the runtime asks `step` and does what it
says. The diagram in `docs/architecture.md` is drawn from this table.
"""

from __future__ import annotations

from enum import StrEnum

from botshard.sharding.errors import CallerError

__all__ = ["TRANSITIONS", "Residency", "ResidencyEvent", "step"]


class Residency(StrEnum):
    """State of a bot on a replica."""

    ABSENT = "absent"
    """Known, not in memory."""
    LOADING = "loading"
    """One load is under way; everybody who asks waits for that one."""
    RESIDENT = "resident"
    """Answers requests."""
    DRAINING = "draining"
    """Answers the requests that it has, takes no new ones, then leaves memory."""
    FAILED = "failed"
    """The last load failed; its reason is kept and it is tried again later."""


class ResidencyEvent(StrEnum):
    """What can happen to a bot on a replica."""

    LOAD = "load"
    LOADED = "loaded"
    LOAD_FAILED = "load failed"
    EVICT = "evict"
    DRAINED = "drained"
    FORGET = "forget"
    """The bot is no longer this replica's, and nothing of it is in memory."""


TRANSITIONS: dict[tuple[Residency, ResidencyEvent], Residency] = {
    (Residency.ABSENT, ResidencyEvent.LOAD): Residency.LOADING,
    (Residency.ABSENT, ResidencyEvent.FORGET): Residency.ABSENT,
    (Residency.LOADING, ResidencyEvent.LOADED): Residency.RESIDENT,
    (Residency.LOADING, ResidencyEvent.LOAD_FAILED): Residency.FAILED,
    (Residency.LOADING, ResidencyEvent.EVICT): Residency.DRAINING,
    (Residency.RESIDENT, ResidencyEvent.EVICT): Residency.DRAINING,
    (Residency.DRAINING, ResidencyEvent.LOADED): Residency.DRAINING,
    (Residency.DRAINING, ResidencyEvent.LOAD_FAILED): Residency.ABSENT,
    (Residency.DRAINING, ResidencyEvent.DRAINED): Residency.ABSENT,
    (Residency.FAILED, ResidencyEvent.LOAD): Residency.LOADING,
    (Residency.FAILED, ResidencyEvent.FORGET): Residency.ABSENT,
}


def step(state: Residency, event: ResidencyEvent, /) -> Residency:
    """The state after `event`.

    Raises: CallerError where the table has no such transition.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise CallerError(f"a bot that is {state} cannot be told {event.value!r}") from None
