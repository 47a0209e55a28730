"""What this replica says of itself in the store: at once when others wait for it, else every few seconds."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from botshard.logs import fields
from botshard.sharding.errors import WorldError
from botshard.sharding.ids import BotId
from botshard.sharding.residency import Residency
from botshard.sharding.units import MEBIBYTE
from botshard.store.base import ObjectStore
from botshard.store.costs import BotCost, ReplicaCosts, write_costs
from botshard.store.reports import BotReport, ReplicaReport, delete_report, read_reports, write_report
from kserve_runtimes.core.costs import BotCosts
from kserve_runtimes.core.follower import Follower
from kserve_runtimes.core.notices import LoadNotices
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.core.resident import Resident
from kserve_runtimes.core.residents import Residents

__all__ = ["Reporter", "current_rss_bytes"]

log = logging.getLogger(__name__)

_LEAST_INTERVAL_S: Final = 0.25
"""Between two reports, however much happens: a pool that loads 500 bots says so four times a second."""
_SAME_AGAIN: Final = 3
"""Intervals until a report is written whose only news is that the replica lives: one of thousands of bots is large, and
readers look at its age with some patience (30 s, at the interval's default of 5 s)."""
_COSTS: Final = 3
"""Intervals between two writings of what bots have cost."""
_FREE_STEP_BYTES: Final = 64 * MEBIBYTE
"""Free memory of a GPU changes with every batch; told more finely, it would be news all the time."""
_PAST_S: Final = 600.0
_KEPT_PAST_REPORTS: Final = 3
"""The last reports of replicas that ended tell the next ones what is used most; more of them tell nothing new."""


class Reporter:
    """Writes the reports of one replica."""

    def __init__(
        self,
        store: ObjectStore,
        pool: Pool,
        *,
        replica: str,
        follower: Follower,
        notices: LoadNotices,
        base_rss_bytes: Callable[[], int],
        url: str | None = None,
    ) -> None:
        """`url` is where siblings get contents of artifacts from this replica; None: nowhere."""
        self._store = store
        self._pool = pool
        self._replica = replica
        self._follower = follower
        self._notices = notices
        self._base_rss_bytes = base_rss_bytes
        self._url = url
        self.on_read: Callable[[Sequence[ReplicaReport]], None] = lambda _: None
        """Called with the reports of this pool when they are read at the start."""
        self.device_bytes: Callable[[], int | None] = lambda: None
        """Bytes of a GPU's memory in use; None: there is none."""
        self.device_free_bytes: Callable[[], int | None] = lambda: None
        """Bytes of that GPU's memory that nobody uses."""
        self._wanted = asyncio.Event()
        self._problem: str | None = None
        self._written: ReplicaReport | None = None
        self._costs_at_s = 0.0
        self._costs_runs = 0.0
        """Requests that what was written of costs is of."""
        # One thread, so that a report that was under way when this replica ends cannot overtake the last one.
        self._executor = ThreadPoolExecutor(1, "report")
        pool.on_report = self._wanted.set

    def expected(self) -> dict[BotId, float]:
        """How much each bot was used lately, by the reports of this pool's replicas. Blocks."""
        try:
            reports, _ = read_reports(self._store, self._pool.name)
        except WorldError:
            return {}  # only an order of loading: any will do
        self.on_read(reports)
        rates: dict[BotId, float] = {}
        for report in reports:
            for bot_id, bot in report.bots.items():
                rates[bot_id] = rates.get(bot_id, 0.0) + bot.rate_per_s
        return rates

    async def keep_reporting(self, interval_s: float, /) -> None:
        """Report until cancelled."""
        is_first = True
        while True:
            # The timer is what makes a silent replica's report young enough to be believed.
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with what it waits for.
            try:
                async with asyncio.timeout(interval_s):
                    await self._wanted.wait()
            except TimeoutError:
                self._notices.tell_again()
            self._wanted.clear()
            if not self._pool.is_complete:
                continue
            await self.report(same_after_s=(_SAME_AGAIN - 0.5) * interval_s)
            if time.monotonic() >= self._costs_at_s:
                self._costs_at_s = time.monotonic() + (_COSTS - 0.5) * interval_s
                await self._report_costs()
            if is_first:
                is_first = False
                await asyncio.get_running_loop().run_in_executor(self._executor, self._forget_past)
            await asyncio.sleep(_LEAST_INTERVAL_S)

    async def report(self, *, is_last: bool = False, same_after_s: float = 0.0) -> None:
        """Write one report; a store that is away is logged once and tried again with the next.

        Args:
            is_last: the replica ends.
            same_after_s: how old the last one must be to be written again where nothing but the time has changed.
        """
        report = self._describe(ready=self._pool.is_ready and not is_last)
        if is_last:
            await self._report_costs()
        if self._written is not None and _tells_nothing_new(report, self._written, same_after_s):
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, write_report, self._store, report)
            self._problem, self._written = None, report
        except WorldError as error:
            problem = " ".join(str(error).split())
            if problem != self._problem:
                log.warning("report cannot be written", extra=fields(problem=problem))
            self._problem = problem

    async def _report_costs(self) -> None:
        """Write what bots have cost, unless nothing was asked since the last time."""
        runs = self._pool.metrics.runs.total
        if runs == self._costs_runs:
            return
        costs = _costs(self._pool.residents)
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._write_costs, costs)
            self._costs_runs = runs
        except WorldError as error:
            log.debug("costs cannot be written", extra=fields(problem=str(error)))  # reports tell of the store

    def _write_costs(self, costs: Mapping[BotId, BotCosts]) -> None:
        bots = {
            bot_id: BotCost(since_s=bot.since_s, requests=bot.requests, rows=bot.rows, cpu_s=bot.cpu_s)
            for bot_id, bot in costs.items()
        }
        write_costs(self._store, ReplicaCosts(self._pool.name, self._replica, time.time(), bots))

    def close(self) -> None:
        """Report no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _describe(self, *, ready: bool) -> ReplicaReport:
        pool, residents = self._pool, self._pool.residents
        now_s = asyncio.get_running_loop().time()
        rates = pool.rates.roll(now_s)
        pool.metrics.top_bots.rank(rates, _costs(residents))
        bots = {entry.id: _bot_report(entry, rates) for entry in (*residents.leaving, *residents)}
        return ReplicaReport(
            pool=pool.name,
            replica=self._replica,
            epoch=pool.epoch,
            catalog_revision=self._follower.catalog_revision,
            ready=ready,
            warmed_epoch=pool.warmed_epoch,
            at_s=time.time(),
            resident_bytes=residents.footprint_bytes,
            base_rss_bytes=self._base_rss_bytes(),
            in_flight=self._notices.in_flight,
            requests_total=self._notices.requests,
            bots=bots,
            reloads_per_s=round(residents.reloads.roll(now_s), 4),
            left_rates=_left_rates(bots, rates),
            url=self._url,
            device_bytes=self.device_bytes() or 0,
            device_free_bytes=_in_steps(self.device_free_bytes()),
        )

    def _forget_past(self) -> None:
        """Delete old reports of replicas that are long gone. Blocks."""
        try:
            reports, _ = read_reports(self._store, self._pool.name)
            now_s = time.time()
            past = [report for report in reports if report.replica != self._replica and now_s - report.at_s > _PAST_S]
            for report in sorted(past, key=lambda report: -report.at_s)[_KEPT_PAST_REPORTS:]:
                delete_report(self._store, report.pool, replica=report.replica)
        except WorldError as error:
            log.debug("past reports cannot be deleted", extra=fields(problem=str(error)))


def _tells_nothing_new(report: ReplicaReport, written: ReplicaReport, same_after_s: float) -> bool:
    is_young = 0 <= report.at_s - written.at_s < same_after_s
    return is_young and replace(written, at_s=report.at_s) == report


def _bot_report(entry: Resident, rates: Mapping[BotId, float]) -> BotReport:
    slot = entry.slot
    loading_or_failed = entry.state in (Residency.LOADING, Residency.FAILED)
    return BotReport(
        state=entry.state,
        version=slot.bot.version.number if slot else entry.wanted.number if loading_or_failed else None,
        footprint_bytes=slot.bot.footprint_bytes if slot else entry.known_bytes,
        rate_per_s=round(rates.get(entry.id, 0.0), 4),
        load_s=round(slot.load_s, 6) if slot else 0.0,
        error=_error(entry),
    )


def _costs(residents: Residents) -> dict[BotId, BotCosts]:
    return {entry.id: entry.costs for entry in residents if entry.costs is not None}


def _error(entry: Resident) -> str | None:
    failure = entry.failure
    if failure is None or entry.slot is None:
        return failure.reason if failure else None
    serving = entry.slot.bot.version.number
    return f"version {failure.version} cannot be loaded, {serving} goes on: {failure.reason}"


def _in_steps(free_bytes: int | None) -> int | None:
    return None if free_bytes is None else free_bytes // _FREE_STEP_BYTES * _FREE_STEP_BYTES


def _left_rates(bots: Mapping[BotId, BotReport], rates: Mapping[BotId, float]) -> dict[BotId, float]:
    rounded = {bot_id: round(rate, 4) for bot_id, rate in rates.items() if bot_id not in bots}
    return {bot_id: rate for bot_id, rate in rounded.items() if rate}


def current_rss_bytes() -> int:
    """Memory of this process, in bytes; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
