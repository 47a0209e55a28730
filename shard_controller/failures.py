"""Which bots do not load where their shards are going: from the replicas' reports, for the few pools that matter."""

from __future__ import annotations

from collections.abc import Mapping

from botshard.sharding.fleet import FailedLoad, PoolStatus
from botshard.sharding.ids import BotId, PoolName
from botshard.sharding.residency import Residency
from botshard.sharding.routing import RoutingTable
from botshard.store.reports import BotReport, ReplicaReport

__all__ = ["FailureFollower"]

_LOADS = (Residency.FAILED, Residency.LOADING)


class FailureFollower:
    """Keeps what each report says of failed loads, so that a look costs the reports that are new.

    Only pools between which shards move are looked at: while nothing moves, nobody asks.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[PoolName, str], tuple[ReplicaReport, dict[BotId, str | None]]] = {}
        self._table: RoutingTable | None = None
        self._moving: frozenset[PoolName] = frozenset()

    def of_pools(
        self,
        reports: Mapping[tuple[PoolName, str], ReplicaReport],
        statuses: Mapping[PoolName, PoolStatus],
        table: RoutingTable | None,
        /,
    ) -> dict[PoolName, dict[BotId, FailedLoad]]:
        """What live replicas of the pools that shards leave or come to could not load; pools without any are absent."""
        if table is not self._table:
            self._table, self._moving = table, _moving_pools(table)
        told = {}
        failing = {}
        for name in self._moving:
            status = statuses.get(name)
            members = status.members if status is not None else ()
            replicas = []
            for member in members:
                report = reports.get((name, member))
                if report is not None:
                    failed = self._failed_in(report)
                    told[name, member] = (report, failed)
                    replicas.append(failed)
            if any(replicas):
                failing[name] = _together(replicas, all_told=len(replicas) == len(members))
        self._told = told
        return failing

    def _failed_in(self, report: ReplicaReport) -> dict[BotId, str | None]:
        before = self._told.get((report.pool, report.replica))
        if before is not None and before[0] is report:
            return before[1]
        # A bot that loads in place of a failed one, or for the first time, has no error and no footprint yet.
        return {bot_id: _reason(bot) for bot_id, bot in report.bots.items() if bot.state in _LOADS}


def _moving_pools(table: RoutingTable | None) -> frozenset[PoolName]:
    """Pools that answer for shards whose moves have begun."""
    return frozenset(
        name
        for family in (table.families.values() if table is not None else ())
        for shard, target in family.targets.items()
        if target.has_begun
        for name in family.answering(shard)
    )


def _reason(bot: BotReport) -> str | None:
    if bot.error is None and bot.state is Residency.FAILED:
        return "the replica does not say why"
    return bot.error


def _together(replicas: list[dict[BotId, str | None]], *, all_told: bool) -> dict[BotId, FailedLoad]:
    """What the live replicas of one pool say, together."""
    found = {}
    for bot_id in {bot_id for failed in replicas for bot_id in failed}:
        reasons = [failed.get(bot_id) for failed in replicas]
        reason = next((reason for reason in reasons if reason is not None), None)
        found[bot_id] = FailedLoad(reason, everywhere=all_told and None not in reasons)
    return found
