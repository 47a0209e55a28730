"""When bots that are loaded again and again add pools: a rate over the threshold that stays so, and what undoes it.

Request rate scales replicas; footprint, the bound on bots and a reload rate over the threshold add pools. A replica
more holds the same bots and reloads as often. A pool more takes bots from the others, so that more of them stay.

What is decided depends on the pools that there are and on rates over the last minutes; nothing else is remembered.
Whoever starts to watch knows no such rates, and until he does, the number of pools stays as it is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Final

from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import FamilyId

__all__ = ["QUIET_S", "SUSTAINED_S", "UNKNOWN_RATES", "ReloadRates", "ReloadWatch", "pools_for_reloads"]

SUSTAINED_S: Final = 300.0
"""A rate over the threshold for so long adds a pool. What a sweep over all bots makes a pool reload is no longer in its
rate by then."""
QUIET_S: Final = 1800.0
"""So long there must be next to no reloads before a pool goes: much longer than it takes to come back, or they flap."""
_QUIET_SHARE: Final = 0.1
"""Of the threshold: what is next to none."""
_STEP_S: Final = 10.0
"""Rates are kept in steps of so long; a step has the lowest and the highest that was seen in it."""


@dataclass(frozen=True, slots=True)
class ReloadRates:
    """Reloads a second of the pool of a family that has most of them."""

    lowest_per_s: float
    """Over the last `SUSTAINED_S`; 0 where nobody has watched for so long."""
    highest_per_s: float
    """Over the last `QUIET_S`; infinite where nobody has watched for so long."""


UNKNOWN_RATES: Final = ReloadRates(0.0, inf)


def pools_for_reloads(rates: ReloadRates, group: PoolGroupSpec, /, *, present: int, most: int) -> int:
    """How many pools a family should have at least for the reloads that it has; 0: they ask for none.

    Args:
        rates: of the family.
        group: its group; without a threshold reloads add nothing.
        present: how many pools it has.
        most: with how many every bot would be resident; more of them spare no reload.
    """
    threshold = group.pool_reloads_per_s
    if not threshold or not present:
        return 0
    wanted = present
    if rates.lowest_per_s > threshold:
        wanted = present + 1
    elif rates.highest_per_s <= threshold * _QUIET_SHARE:
        wanted = present - 1
    return min(wanted, most)


@dataclass(slots=True)
class _Step:
    began_s: float
    lowest: float
    highest: float


@dataclass(slots=True)
class _Watched:
    pools: int
    since_s: float
    steps: deque[_Step] = field(default_factory=deque)


class ReloadWatch:
    """Remembers how often families reloaded lately. Instants are monotonic and given by the caller."""

    def __init__(self) -> None:
        self._watched: dict[FamilyId, _Watched] = {}

    def note(self, family: FamilyId, rate_per_s: float, /, *, pools: int, now_s: float) -> None:
        """What the family's worst pool reloads now. Another number of pools makes all that was seen before void."""
        watched = self._watched.get(family)
        if watched is None or watched.pools != pools:
            watched = self._watched[family] = _Watched(pools, now_s)
        steps = watched.steps
        if steps and now_s - steps[-1].began_s < _STEP_S:
            steps[-1].lowest = min(steps[-1].lowest, rate_per_s)
            steps[-1].highest = max(steps[-1].highest, rate_per_s)
        else:
            steps.append(_Step(now_s, rate_per_s, rate_per_s))
        while len(steps) > 1 and steps[1].began_s <= now_s - QUIET_S:
            steps.popleft()

    def forget_others(self, families: set[FamilyId], /) -> None:
        """Only these families are left."""
        for family in self._watched.keys() - families:
            del self._watched[family]

    def rates(self, family: FamilyId, /, *, now_s: float) -> ReloadRates:
        """What is known of the family."""
        watched = self._watched.get(family)
        if watched is None:
            return UNKNOWN_RATES
        watched_s = now_s - watched.since_s
        late = [step.lowest for step in watched.steps if step.began_s > now_s - SUSTAINED_S - _STEP_S]
        return ReloadRates(
            min(late, default=0.0) if watched_s >= SUSTAINED_S else 0.0,
            max((step.highest for step in watched.steps), default=inf) if watched_s >= QUIET_S else inf,
        )
