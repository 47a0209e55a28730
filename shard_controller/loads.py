"""What each bot weighs: estimated until it was measured, then measured; kept while bots and measurements change."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from botshard.sharding.bot_map import BotMap
from botshard.sharding.catalog import Bot, FamilyKey
from botshard.sharding.fleet import BotLoad, PoolStatus
from botshard.sharding.ids import BotId, PoolName
from botshard.sharding.loads import BotLoads
from botshard.sharding.units import KIBIBYTE
from botshard.store.reports import RATE_TAU_S, ReplicaReport

__all__ = ["Estimates", "LoadFollower", "is_gone", "kept_rate_ratio"]

_ESTIMATE_RATIO = 1.1
_ESTIMATE_BYTES = 64 * KIBIBYTE
"""A resident bot is its files, a tenth for the framework, and what processing needs: an estimate until measured."""
_SAME_RATE_RATIO = 0.2
"""A rate that differs by less is the same: rates always wander, and each that is taken up costs a plan its time."""

WeighedReport: TypeAlias = tuple[ReplicaReport, float]
"""A report, and how much of its rates counts."""


class Estimates:
    """What a controller keeps of catalog entries: the load of each bot as it is estimated until it was measured."""

    def __init__(self) -> None:
        self._keys: dict[FamilyKey, FamilyKey] = {}

    def keep(self, bot: Bot, hash_of_bot: int, /) -> BotLoad | None:
        """The bot's load; None for a retired one, which has none."""
        if bot.retired:
            return None
        version = bot.serving
        hint = version.resources.memory_bytes
        estimate = hint if hint is not None else int(version.size_bytes * _ESTIMATE_RATIO) + _ESTIMATE_BYTES
        # One key a family, not one a bot.
        key = self._keys.setdefault(version.family_key, version.family_key)
        return BotLoad(bot.id, hash_of_bot, key, estimate, version.resources.rate_per_s or 0.0)


class LoadFollower:
    """Puts estimates and measurements together. A change of some bots costs those; new measurements, all told of."""

    def __init__(self) -> None:
        self._loads = BotLoads.of(())
        self._measured: dict[BotId, tuple[int, float]] = {}
        """Footprint, 0 where there is none, and requests a second of every bot that a report has."""

    def follow(
        self, estimates: BotMap[BotLoad], touched: Collection[BotId], reports: Iterable[WeighedReport] | None, /
    ) -> BotLoads:
        """Every bot that is to be served, with its load.

        Args:
            estimates: of every such bot.
            touched: bots whose estimate has come, changed or gone since the last call.
            reports: of all replicas, with how much of their rates counts, where that differs from then; else None.
        """
        to_weigh = set(touched)
        if reports is not None:
            before, self._measured = self._measured, _measured(reports)
            to_weigh.update(before.keys() - self._measured.keys())
            to_weigh.update(bot for bot, told in self._measured.items() if before.get(bot) != told)
        put, gone = [], []
        for bot_id in to_weigh:
            estimate = estimates.get(bot_id)
            if estimate is None:
                gone.append(bot_id)
            else:
                put.append(self._load(estimate))
        self._loads = self._loads.changed(put, remove=gone)
        return self._loads

    def _load(self, estimate: BotLoad) -> BotLoad:
        footprint_bytes, rate_per_s = self._measured.get(estimate.id, (0, estimate.rate_per_s))
        held = self._loads.get(estimate.id)
        if held is not None and abs(held.rate_per_s - rate_per_s) <= _SAME_RATE_RATIO * held.rate_per_s:
            rate_per_s = held.rate_per_s
        load = BotLoad(
            estimate.id, estimate.hash, estimate.key, footprint_bytes or estimate.footprint_bytes, rate_per_s
        )
        return estimate if load == estimate else load


def is_gone(report: ReplicaReport, statuses: Mapping[PoolName, PoolStatus], /) -> bool:
    """Whether the home knows the replica no more. Where it knows no pool at all, nobody can tell."""
    status = statuses.get(report.pool)
    return bool(statuses) and (status is None or report.replica not in status.members)


def kept_rate_ratio(report: ReplicaReport, statuses: Mapping[PoolName, PoolStatus], /, *, now_s: float) -> float:
    """How much of the rates that a replica has told still counts.

    Who takes over from a replica that is gone tells of it little by little, since rates are means. What the last report
    says fades as fast: both together are the traffic, neither twice as much nor half of it.
    """
    if not is_gone(report, statuses):
        return 1.0
    return math.exp(-max(0.0, now_s - report.at_s) / RATE_TAU_S)


def _measured(reports: Iterable[WeighedReport]) -> dict[BotId, tuple[int, float]]:
    """The largest footprint among the replicas, and the sum of their rates."""
    measured: dict[BotId, tuple[int, float]] = {}
    for report, kept_ratio in reports:
        for bot_id, bot in report.bots.items():
            footprint_bytes, rate_per_s = measured.get(bot_id, (0, 0.0))
            measured[bot_id] = max(footprint_bytes, bot.footprint_bytes), rate_per_s + kept_ratio * bot.rate_per_s
        for bot_id, left_per_s in report.left_rates.items():
            footprint_bytes, rate_per_s = measured.get(bot_id, (0, 0.0))
            measured[bot_id] = footprint_bytes, rate_per_s + kept_ratio * left_per_s
    return measured
