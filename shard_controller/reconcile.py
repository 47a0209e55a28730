"""One turn of the loop: observe, plan, apply, report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from botshard.logs import fields
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.fleet import Snapshot
from botshard.sharding.ids import Epoch
from botshard.sharding.placement import Refusal, place
from botshard.sharding.plan import Plan, plan
from botshard.store.base import ObjectStore, PreconditionFailedError
from botshard.store.intents import change_intents
from botshard.store.reports import RATE_TAU_S, delete_report
from botshard.store.table import TableStore
from shard_controller.apply import apply
from shard_controller.home import PoolHome
from shard_controller.observe import Observation, Observer
from shard_controller.status import StatusWriter

__all__ = ["Reconciler"]

_log = logging.getLogger(__name__)

_DEAD_REPORT_S = 5 * RATE_TAU_S
"""A replica that its home does not know and that has not reported for so long is gone, and the last of its rates."""


@dataclass(eq=False)
class Reconciler:
    """The loop's state is only what spares work: everything it decides on is read anew."""

    store: ObjectStore
    home: PoolHome
    observer: Observer
    grace_s: float
    budget_bots: int
    replan_interval_s: float
    now_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic
    _planned_at_s: float = float("-inf")
    _settled: bool = False
    _problems: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tables = TableStore(self.store)
        self._status = StatusWriter(self.store)

    def reconcile(self) -> bool:
        """One turn; True where there was something to plan. Raises: WorldError."""
        changed = self.observer.look()
        self._forget_dead_replicas()
        due = self.observer.measured_anew and self.monotonic_s() - self._planned_at_s >= self.replan_interval_s
        if not (changed or due or not self._settled or self.observer.problems() != self._problems):
            return False
        # Until this turn has been carried out: one that fails halfway is taken up again, although nothing changes.
        self._settled = False
        started_s, started_cpu_s = self.monotonic_s(), time.thread_time()
        observed = self.observer.observation()
        if self.observer.unread:
            waiting = f"nothing is planned until {', '.join(sorted(self.observer.unread))} can be read"
            self._report(observed, Plan(ensure=(), table=None, remove=(), waiting=(waiting,)), ())
            return True
        placement = place(observed.snapshot)
        step = plan(
            observed.snapshot, placement, now_s=self.now_s(), grace_s=self.grace_s, budget_bots=self.budget_bots
        )
        if observed.table_problem is not None:
            step = _over_a_bad_table(step, observed, now_s=self.now_s())
        took_s, cpu_s = self.monotonic_s() - started_s, time.thread_time() - started_cpu_s
        _log.debug("planned", extra=fields(bots=len(observed.snapshot.bots), took_s=took_s, cpu_s=cpu_s))
        try:
            apply(step, home=self.home, tables=self._tables, table_etag=observed.table_etag)
        except PreconditionFailedError:
            _log.warning("another controller has published; looking again", extra=fields(epoch=_epoch(observed)))
            return True
        self._settled = step.is_settled
        self._planned_at_s = self.monotonic_s()
        self._report(observed, step, placement.refused)
        self._forget_drained_pools(observed)
        return True

    def _forget_drained_pools(self, observed: Observation) -> None:
        """What has been left is gone from table and home: its name may be given to a pool again."""
        snapshot = observed.snapshot
        if snapshot.table is None or observed.table_problem is not None:
            return
        gone = snapshot.leaving.difference(snapshot.table.pools, snapshot.pools)
        if not gone:
            return
        try:
            change_intents(self.store, lambda intents: intents.without(gone))
        except InvalidDocumentError:
            return  # damaged meanwhile: the next look says so
        _log.info("pools left", extra=fields(pools=", ".join(sorted(gone))))

    def _report(self, observed: Observation, step: Plan, refused: tuple[Refusal, ...]) -> None:
        problems = self.observer.problems()
        for where, problem in problems.items():
            if self._problems.get(where) != problem:
                _log.error("refused; the last good stays in force", extra=fields(what=where, why=problem))
        for where in self._problems.keys() - problems.keys():
            _log.info("accepted again", extra=fields(what=where))
        self._problems = problems
        epoch = step.table.epoch if step.table else _epoch(observed)
        if self._status.write(epoch=epoch, waiting=step.waiting, refused=refused, problems=problems):
            for refusal in refused[:10]:
                _log.warning("bot cannot be placed", extra=fields(bot=refusal.bot, why=refusal.reason))

    def _forget_dead_replicas(self) -> None:
        for (pool, replica), report in self.observer.reports.items():
            status = self.observer.statuses.get(pool)
            alive = status is not None and replica in status.members
            if not alive and self.now_s() - report.at_s > _DEAD_REPORT_S:
                delete_report(self.store, pool, replica=replica)


def _epoch(observed: Observation) -> int:
    return observed.snapshot.table.epoch if observed.snapshot.table else 0


def _over_a_bad_table(step: Plan, observed: Observation, *, now_s: float) -> Plan:
    """A table to put in the place of one that nobody can read.

    With a last good table at hand, that one's successor. Without (a controller that has just started), nobody knows the
    last epoch: seconds since 1970 are greater than any counted one, and routers refuse a smaller one than they hold.
    """
    snapshot: Snapshot = observed.snapshot
    if snapshot.table is not None:
        table = step.table or replace(snapshot.table, epoch=Epoch(snapshot.table.epoch + 1))
    elif step.table is not None:
        table = replace(step.table, epoch=Epoch(int(now_s)))
    else:
        return step
    return replace(step, table=table)
