"""What is: catalog, reports, routing table, pool groups and pools, put together into one snapshot."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from botshard.sharding.bot_map import BotMap
from botshard.sharding.fleet import BotLoad, FailedLoad, PoolStatus, Snapshot
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import BotId, Epoch, FamilyId, GroupName, PoolName
from botshard.sharding.reloads import ReloadRates, ReloadWatch
from botshard.sharding.routing import RoutingTable
from botshard.store.base import ObjectStore
from botshard.store.catalog_follower import CatalogFollower
from botshard.store.intents import IntentFollower, Intents
from botshard.store.layout import CONTROLLER_INTENTS
from botshard.store.reports import ReplicaReport, ReportFollower
from botshard.store.table import TableFollower
from shard_controller.failures import FailureFollower
from shard_controller.group_files import GroupFiles
from shard_controller.home import PoolHome
from shard_controller.loads import Estimates, LoadFollower, is_gone, kept_rate_ratio

__all__ = ["Observation", "Observer", "warmed_epochs", "worst_reloads"]

Reports = Mapping[tuple[PoolName, str], ReplicaReport]


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the world."""

    snapshot: Snapshot
    table_etag: str | None
    """Of what is published now, acceptable or not; a new table is only put in its place."""
    table_problem: str | None
    """Why what is published now cannot be used; `snapshot.table` is then the last good one."""
    reports: Reports
    intents: Intents


class Observer:
    """Looks at the world. Cheap where nothing has changed."""

    def __init__(
        self,
        store: ObjectStore,
        home: PoolHome,
        groups: GroupFiles,
        /,
        *,
        now_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog: CatalogFollower[BotLoad] = CatalogFollower(store, keep=Estimates().keep, clock_s=monotonic_s)
        self._table = TableFollower(store)
        self._reports = ReportFollower(store)
        self._intents = IntentFollower(store)
        self._home = home
        self._now_s = now_s
        self._groups = groups
        self._loads = LoadFollower()
        self._touched: set[BotId] = set()
        """Bots whose entries have changed since the last observation."""
        self._counted: BotMap[BotLoad] = BotMap()
        self._bots_in: Counter[GroupName] = Counter()
        """How many of the bots in `_counted` are in each group."""
        self._failures = FailureFollower()
        self._reload_watch = ReloadWatch()
        self._reloads: Mapping[FamilyId, ReloadRates] = {}
        self._warmed: Mapping[PoolName, Epoch] = {}
        self._failing: Mapping[PoolName, Mapping[BotId, FailedLoad]] = {}
        self._reloads_told: Mapping[FamilyId, ReloadRates] = {}
        """By the last observation."""
        self._monotonic_s = monotonic_s
        self._seen: object = None
        self._changed = False
        self._statuses: Mapping[PoolName, PoolStatus] = {}
        self._held_groups: Mapping[GroupName, PoolGroupSpec] = {}
        self._reports_seen: Reports = {}
        self.measured_anew = False
        """Whether reports have told other footprints or rates than the last observation has: new ones alone do not."""

    def look(self) -> bool:
        """Look at everything once; True where anything but the reports has changed since the last look.

        Raises: WorldError where store or home cannot be read; what was seen before stays.
        """
        # Kept until a look has come to its end: a change that was seen before something could not be read still counts.
        self._changed = self._groups.refresh() or self._changed
        self._changed = self._look_at_catalog() or self._changed
        self._changed = self._intents.refresh() or self._changed
        self._table.refresh()
        self._statuses = self._home.statuses()
        if self._changed or self._seen is None:
            self._held_groups = self._groups_to_hold()
        reports = self._reports.refresh()
        told, told_before = (
            {key: (report.bots, report.left_rates) for key, report in of.items()}
            for of in (reports, self._reports_seen)
        )
        self.measured_anew = self.measured_anew or told != told_before or self._has_fading_rates(reports)
        self._reports_seen = reports
        self._watch_reloads()
        # These change by time alone: a rate that is what it was has lasted for longer by now.
        self._reloads = self._reload_rates()
        self.measured_anew = self.measured_anew or self._reloads != self._reloads_told
        self._warmed = warmed_epochs(reports.values(), self._statuses)
        self._failing = self._failures.of_pools(reports, self._statuses, self._table.table)
        seen = (self._table.etag, self._statuses, self._warmed, self._failing)
        changed = self._changed or seen != self._seen
        self._changed = False
        self._seen = seen
        return changed

    def observation(self) -> Observation:
        """What the last look has found."""
        reports = None
        if self.measured_anew:
            now_s, statuses = self._now_s(), self._statuses
            reports = ((one, kept_rate_ratio(one, statuses, now_s=now_s)) for one in self._reports_seen.values())
        loads = self._loads.follow(self._catalog.bots, self._touched, reports)
        self.measured_anew = False
        self._touched = set()
        self._reloads_told = self._reloads
        intents = self._intents.intents
        snapshot = Snapshot(
            groups={**self._held_groups, **self._groups.groups},
            bots=loads,
            table=self._table.table,
            pools=self._statuses,
            warmed=self._warmed,
            leaving=intents.leaving,
            more_pools=intents.more_pools,
            failing=self._failing,
            quarantined=frozenset(intents.quarantine),
            reloads=self._reloads,
        )
        return Observation(snapshot, self._table.etag, self._table.problem, self._reports_seen, intents)

    def _watch_reloads(self) -> None:
        table = self._table.table
        groups = (*self._held_groups.values(), *self._groups.groups.values())
        if table is None or not any(group.pool_reloads_per_s for group in groups):
            return
        worst = worst_reloads(self._reports_seen.values(), self._statuses, table)
        for name, rate_per_s in worst.items():
            self._reload_watch.note(name, rate_per_s, pools=len(table.families[name].urls), now_s=self._monotonic_s())
        self._reload_watch.forget_others(set(worst))

    def _reload_rates(self) -> Mapping[FamilyId, ReloadRates]:
        families = self._table.table.families if self._table.table is not None else {}
        return {name: self._reload_watch.rates(name, now_s=self._monotonic_s()) for name in families}

    @property
    def reports(self) -> Reports:
        """As the last look has found them."""
        return self._reports_seen

    @property
    def statuses(self) -> Mapping[PoolName, PoolStatus]:
        """As the last look has found them."""
        return self._statuses

    @property
    def unread(self) -> frozenset[str]:
        """Objects of which nothing acceptable was read yet, so that nothing can be planned.

        Without the bots of a catalog object a plan would take away their pools; without the intents, those that an
        operator has added.
        """
        return self._catalog.unread if self._intents.are_known else self._catalog.unread | {CONTROLLER_INTENTS}

    def problems(self) -> dict[str, str]:
        """What was refused, by where it stands; the last good of each stays in force."""
        problems = {**self._catalog.problems, **self._reports.problems}
        if self._table.problem:
            problems["routing table"] = self._table.problem
        if self._intents.problem:
            problems[CONTROLLER_INTENTS] = self._intents.problem
        if self._groups.problem:
            problems["pool groups"] = self._groups.problem
        else:
            why = "no file has it any more, but bots are in it: move or retire them first, or put it back"
            problems.update((f"pool group {name}", why) for name in self._held_groups)
        return problems

    def _groups_to_hold(self) -> Mapping[GroupName, PoolGroupSpec]:
        """Groups that have left the files while bots are in them: a slip of an editor must not end their service."""
        missing = {name: group for name, group in self._home.groups().items() if name not in self._groups.groups}
        if not missing:
            return {}
        return {name: group for name, group in missing.items() if self._bots_in[name]}

    def _has_fading_rates(self, reports: Reports) -> bool:
        """Whether a replica that is gone has told of requests: what of them counts becomes less, untold."""
        gone = [report for report in reports.values() if is_gone(report, self._statuses)]
        return any(report.left_rates or any(bot.rate_per_s for bot in report.bots.values()) for report in gone)

    def _look_at_catalog(self) -> bool:
        """Whether a bot that is to be served came, went or weighs something else; counts what did, and no other."""
        changed = self._catalog.refresh()
        self._touched |= changed
        before, after = self._counted, self._catalog.bots
        self._counted = after
        for bot_id in changed:
            if (was := before.get(bot_id)) is not None:
                self._bots_in[was.key.group] -= 1
            if (load := after.get(bot_id)) is not None:
                self._bots_in[load.key.group] += 1
        return bool(changed)


def worst_reloads(
    reports: Iterable[ReplicaReport], statuses: Mapping[PoolName, PoolStatus], table: RoutingTable, /
) -> dict[FamilyId, float]:
    """Reloads a second of the pool of each family that has most of them, over its live replicas."""
    by_pool = dict.fromkeys(table.pools, 0.0)
    for report in reports:
        status = statuses.get(report.pool)
        if report.pool in by_pool and status is not None and report.replica in status.members:
            by_pool[report.pool] += report.reloads_per_s
    return {family.id: max((by_pool[name] for name in family.urls), default=0.0) for family in table.families.values()}


def warmed_epochs(
    reports: Iterable[ReplicaReport], statuses: Mapping[PoolName, PoolStatus], /
) -> dict[PoolName, Epoch]:
    """Up to which epoch each pool has warmed: the lowest of its live replicas, all of which must have reported."""
    by_pool: dict[PoolName, dict[str, Epoch]] = {}
    for report in reports:
        by_pool.setdefault(report.pool, {})[report.replica] = report.warmed_epoch
    warmed = {}
    for name, status in statuses.items():
        told = by_pool.get(name, {})
        if status.members and all(member in told for member in status.members):
            warmed[name] = min(told[member] for member in status.members)
    return warmed
