"""Which bots of a fleet are asked how often in a phase, as multiples of what all together are asked usually.

A mix returns weights: their sum is 1 where nothing is unusual, and more where somebody asks more than usual. So a bot
or a tenant that becomes greedy takes nothing from the others: their requests stay, and what they notice of it can be
compared with what was before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from loadtests.traffic.popularity import Shares

__all__ = ["GreedyTenant", "HotBot", "Mix", "Usual", "Weights", "hot_bot", "typical_tenant", "usual_weights"]

Weights = tuple[float, ...]
"""By bot."""


class Mix(Protocol):
    """Changes the usual weights."""

    def weights(self, usual: Weights, tenants: Sequence[str], /) -> Weights:
        """Of each bot; `tenants`: whose it is, by bot."""
        ...


@dataclass(frozen=True, slots=True)
class Usual:
    """Nothing unusual."""

    def weights(self, usual: Weights, tenants: Sequence[str], /) -> Weights:  # noqa: ARG002 - as every mix
        """As they are."""
        return usual


@dataclass(frozen=True, slots=True)
class HotBot:
    """One bot that few knew before is asked so often that it makes up a share of all requests."""

    share: float = 0.5

    def weights(self, usual: Weights, tenants: Sequence[str], /) -> Weights:  # noqa: ARG002 - as every mix
        """The hot one takes its share of what there is then; the others are asked as before."""
        hot = hot_bot(usual)
        others = sum(usual) - usual[hot]
        return tuple(others * self.share / (1 - self.share) if at == hot else one for at, one in enumerate(usual))


@dataclass(frozen=True, slots=True)
class GreedyTenant:
    """One tenant, usual in every way, asks a multiple of what it usually asks."""

    times: float = 10.0

    def weights(self, usual: Weights, tenants: Sequence[str], /) -> Weights:
        """That tenant's bots are asked so much more; the others as before."""
        greedy = typical_tenant(usual, tenants)
        return tuple(one * self.times if tenant == greedy else one for one, tenant in zip(usual, tenants, strict=True))


def usual_weights(shares: Shares, chance: Random, /) -> Weights:
    """Shares by rank given to bots in an order that says nothing."""
    shuffled = list(shares)
    chance.shuffle(shuffled)
    return tuple(shuffled)


def hot_bot(usual: Weights, /) -> int:
    """The one in the middle of the ranks."""
    return sorted(range(len(usual)), key=lambda bot: (usual[bot], bot))[len(usual) // 2]


def typical_tenant(usual: Weights, tenants: Sequence[str], /) -> str:
    """The one whose share is nearest to what each would have if all were alike."""
    sums: dict[str, float] = {}
    for tenant, weight in zip(tenants, usual, strict=True):
        sums[tenant] = sums.get(tenant, 0.0) + weight
    return _nearest(sums, sum(usual) / len(sums))


def _nearest(sums: Mapping[str, float], wanted: float) -> str:
    return min(sums, key=lambda tenant: (abs(sums[tenant] - wanted), tenant))
