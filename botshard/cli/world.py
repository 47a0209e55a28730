"""Everything that a view is made from, read once: catalog, routing table, reports, what controller and keeper say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from botshard.cli.controller_view import ControllerView, read_controller
from botshard.local.home import LocalHome
from botshard.sharding.catalog import Bot
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.fleet import PoolSpec, PoolStatus
from botshard.sharding.hashing import bot_hash, family_id
from botshard.sharding.ids import BotId, PoolName
from botshard.sharding.routing import RoutingTable
from botshard.store.base import ObjectStore
from botshard.store.catalog_follower import CatalogFollower, whole_entry
from botshard.store.costs import ReplicaCosts, read_costs
from botshard.store.intents import Intents, read_intents
from botshard.store.layout import CONTROLLER_INTENTS, TABLE_CURRENT
from botshard.store.reports import BotReport, ReplicaReport, read_reports
from botshard.store.table import TableStore

__all__ = ["LIVE_REPORT_AGE_S", "World", "answering_pools", "read_catalog", "read_world"]

LIVE_REPORT_AGE_S = 30.0
"""A replica reports every 5 s unless it is told otherwise; one that has been silent for so long has ended."""


@dataclass(frozen=True, slots=True)
class World:
    """One look at store and local stack."""

    bots: Mapping[BotId, Bot]
    table: RoutingTable | None
    """None: none has been published, or it is damaged (then there is a problem)."""
    reports: tuple[ReplicaReport, ...]
    """Sorted by pool and replica; those of replicas that have ended are among them."""
    controller: ControllerView
    now_s: float
    statuses: Mapping[PoolName, PoolStatus] | None = None
    """How the local stack sees its pools; empty where it is down; None where pools live elsewhere."""
    specs: Mapping[PoolName, PoolSpec] = field(default_factory=dict)
    """What a local stack was told to make."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """What in the store cannot be read, by key."""
    intents: Intents = field(default_factory=Intents)
    """What operators ask for."""
    costs: Mapping[tuple[PoolName, str], ReplicaCosts] = field(default_factory=dict)
    """What bots have cost each replica; only of pools that answer for the one bot that is looked at."""

    def is_live(self, report: ReplicaReport, /) -> bool:
        """Whether the replica of this report still runs, as far as anybody knows."""
        if self.statuses is not None:
            status = self.statuses.get(report.pool)
            return status is not None and report.replica in status.members
        return self.age_s(report) <= LIVE_REPORT_AGE_S

    def age_s(self, report: ReplicaReport, /) -> float:
        """Seconds since the report was written, by the clocks of two machines."""
        return max(0.0, round(self.now_s - report.at_s, 1))

    def seen_of(self, bot_id: BotId, /) -> list[tuple[ReplicaReport, BotReport]]:
        """What replicas say of one bot."""
        return [(report, report.bots[bot_id]) for report in self.reports if bot_id in report.bots]

    def seen_of_all(self) -> Mapping[BotId, list[tuple[ReplicaReport, BotReport]]]:
        """What replicas say of each bot."""
        seen: dict[BotId, list[tuple[ReplicaReport, BotReport]]] = {}
        for report in self.reports:
            for bot_id, bot in report.bots.items():
                seen.setdefault(bot_id, []).append((report, bot))
        return seen


def read_catalog(store: ObjectStore, /) -> tuple[Mapping[BotId, Bot], dict[str, str]]:
    """Every bot, and why objects of the catalog cannot be read, by key. Raises: StoreError."""
    follower = CatalogFollower(store, keep=whole_entry)
    follower.refresh()
    return follower.bots, follower.problems


def read_world(
    store: ObjectStore,
    bots: Mapping[BotId, Bot],
    /,
    *,
    now_s: float,
    home: ObjectStore | None = None,
    is_down: bool = False,
    only: Bot | None = None,
    problems: Mapping[str, str] | None = None,
) -> World:
    """Look at everything around `bots`.

    Args:
        store: the object store.
        bots: entries of the catalog that matter.
        now_s: seconds since 1970.
        home: documents of the local stack that runs on this store.
        is_down: the store is a local stack's own, and that stack does not run.
        only: read the reports of this bot's pools alone; None: all.
        problems: what is known to be wrong already.

    Raises: StoreError.
    """
    found = dict(problems or {})
    table = None
    try:
        published = TableStore(store).read()
        table = published[0] if published else None
    except InvalidDocumentError as error:
        found[TABLE_CURRENT] = str(error)
    reports: list[ReplicaReport] = []
    costs: dict[tuple[PoolName, str], ReplicaCosts] = {}
    for pool in [None] if only is None else sorted(answering_pools(only, table)):
        of_pool, refused = read_reports(store, pool)
        reports += of_pool
        found |= refused
        if pool is not None:
            of_replicas, refused = read_costs(store, pool)
            costs |= {(one.pool, one.replica): one for one in of_replicas}
            found |= refused
    intents = Intents()
    try:
        intents = read_intents(store)
    except InvalidDocumentError as error:
        found[CONTROLLER_INTENTS] = str(error)
    statuses, specs = _look_home(home, found)
    if is_down:
        statuses = {}
    return World(bots, table, tuple(reports), read_controller(store), now_s, statuses, specs, found, intents, costs)


def answering_pools(bot: Bot, table: RoutingTable | None, /) -> tuple[PoolName, ...]:
    """Pools that answer for a bot: routed, then warming, then lingering."""
    found = table.explain(family_id(bot.serving.family_key), bot_hash(bot.id)) if table else None
    return found[1].answering(found[0]) if found else ()


def _look_home(
    home: ObjectStore | None, problems: dict[str, str]
) -> tuple[Mapping[PoolName, PoolStatus] | None, Mapping[PoolName, PoolSpec]]:
    if home is None:
        return None, {}
    local = LocalHome(home)
    try:
        return local.statuses(), {spec.name: spec for spec in local.specs() or ()}
    except InvalidDocumentError as error:
        problems["local stack"] = str(error)
        return None, {}
