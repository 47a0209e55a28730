"""A controller's surroundings: a real store, a real local home, and a test that plays keeper and replicas by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from botshard.local.home import LocalHome
from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.fleet import PoolPhase, PoolStatus
from botshard.sharding.ids import BotId, Epoch, Framework, GroupName, PoolName, TenantId, VersionNumber
from botshard.sharding.residency import Residency
from botshard.sharding.routing import RoutingTable
from botshard.sharding.units import MEBIBYTE
from botshard.store.catalog import CatalogStore
from botshard.store.reports import BotReport, ReplicaReport, write_report
from botshard.store.table import TableStore
from botshard.store.urls import open_store
from shard_controller.group_files import GroupFiles
from shard_controller.local import LocalPools
from shard_controller.observe import Observer
from shard_controller.reconcile import Reconciler

REALTIME = """
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: realtime}
spec: {class: realtime, pool: {memory: 64Mi, bots: 1000}, shardReplicas: 1}
---
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: non-realtime}
spec: {class: non-realtime, pool: {memory: 64Mi, bots: 1000}}
"""


class World:
    """Everything around a controller; `now_s` only moves when a test says so."""

    def __init__(self, folder: Path) -> None:
        self.store = open_store((folder / "store").as_uri(), os.environ)
        self.home = LocalHome(open_store((folder / "home").as_uri(), os.environ))
        self.groups = folder / "groups.yaml"
        self.groups.write_text(REALTIME)
        self.now_s = 1_000_000.0
        self.budget_bots = 200
        self.broken: dict[PoolName, set[str]] = {}
        """Bots that replicas of a pool cannot load."""
        self.members: tuple[str, ...] = ("r1",)
        """Live replicas of each realtime pool."""
        self._port = 40_000
        self._urls: dict[PoolName, str] = {}
        self._reported: dict[tuple[PoolName, str], int] = {}
        self.reloads_per_s = 0.0
        """What every replica reports."""

    def controller(self, *, replan_interval_s: float = 0.0) -> Reconciler:
        """A controller that has just started."""
        groups = GroupFiles((self.groups,))
        home = LocalPools(self.home)
        return Reconciler(
            self.store,
            home,
            Observer(self.store, home, groups, now_s=lambda: self.now_s, monotonic_s=lambda: self.now_s),
            grace_s=5.0,
            budget_bots=self.budget_bots,
            replan_interval_s=replan_interval_s,
            now_s=lambda: self.now_s,
            monotonic_s=lambda: self.now_s,
        )

    def publish(self, count: int, *, group: str = "realtime", prefix: str = "bot", size_bytes: int = MEBIBYTE) -> None:
        """Put bots into the catalog, as publishing does after it has stored their artifacts."""
        key = FamilyKey(GroupName(group), Framework("torch"))
        version = Version(VersionNumber(1), "0" * 64, size_bytes, key, 0)
        bots = [Bot(BotId(f"{prefix}-{index}"), TenantId("acme"), (version,)) for index in range(count)]
        CatalogStore(self.store).change_many({bot.id: _becomes(bot) for bot in bots})

    def retire(self, bot_ids: Iterable[str]) -> None:
        """Retire bots."""

        def edit(bot: Bot | None) -> Bot | None:
            return bot and Bot(bot.id, bot.tenant, bot.versions, bot.rollout, retired=True)

        CatalogStore(self.store).change_many({BotId(bot_id): edit for bot_id in bot_ids})

    def keep(self) -> None:
        """What the keeper does: make the pools that are wanted, and say how they are."""
        statuses = []
        for spec in self.home.specs() or ():
            if spec.name not in self._urls:
                self._port += 1
                self._urls[spec.name] = f"http://127.0.0.1:{self._port}"
            asleep = not spec.group.realtime
            phase, members = (PoolPhase.ASLEEP, ()) if asleep else (PoolPhase.READY, self.members)
            count = len(members)
            statuses.append(PoolStatus(spec.name, self._urls[spec.name], phase, count, count, "", members))
        self.home.write_statuses(statuses)

    def warm(self) -> None:
        """What replicas do: load what is theirs under the published table, and report that."""
        epoch = self.table().epoch
        for status in self.home.statuses().values():
            for member in status.members:
                if self._reported.get((status.name, member)) != epoch:
                    self.report(status.name, member, warmed_epoch=epoch)

    def report(
        self,
        pool: PoolName,
        replica: str,
        *,
        warmed_epoch: int,
        at_s: float | None = None,
        bots: Mapping[BotId, BotReport] | None = None,
        left_rates: Mapping[BotId, float] | None = None,
    ) -> None:
        """One replica's report; of its bots it says which it cannot load, and what it is told to."""
        failed = BotReport(Residency.FAILED, VersionNumber(1), error="the blob is damaged")
        self._reported[pool, replica] = warmed_epoch
        write_report(
            self.store,
            replica_report(
                pool,
                replica,
                {**{BotId(name): failed for name in self.broken.get(pool, ())}, **(bots or {})},
                epoch=warmed_epoch,
                at_s=self.now_s if at_s is None else at_s,
                reloads_per_s=self.reloads_per_s,
                left_rates=left_rates or {},
            ),
        )

    def table(self) -> RoutingTable:
        """As published."""
        found = TableStore(self.store).read()
        assert found is not None
        return found[0]

    def settle(self, controller: Reconciler, *, most: int = 30) -> int:
        """Turns until there is nothing left to do, the keeper and the replicas doing theirs; how many."""
        for turn in range(most):
            self.now_s += 2.0
            worked = controller.reconcile()
            self.keep()
            if TableStore(self.store).read() is not None:
                self.warm()
            if not worked:
                return turn
        raise AssertionError("does not settle")


def world_of_two_pools(folder: Path) -> World:
    """A settled world of 80 bots in two pools."""
    world = World(folder)
    world.publish(80)
    world.settle(world.controller())
    assert len(world.table().pools) == 2
    return world


def replica_report(
    pool: str, replica: str, bots: Mapping[BotId, BotReport], *, epoch: int = 1, at_s: float = 1.0, **more: Any
) -> ReplicaReport:
    """What a ready replica that holds nothing and is asked nothing says of some bots."""
    return ReplicaReport(
        pool=PoolName(pool),
        replica=replica,
        epoch=Epoch(epoch),
        catalog_revision=1,
        ready=True,
        warmed_epoch=Epoch(epoch),
        at_s=at_s,
        resident_bytes=0,
        base_rss_bytes=0,
        in_flight=0,
        requests_total=0,
        bots=bots,
        **more,
    )


def _becomes(bot: Bot) -> Callable[[Bot | None], Bot | None]:
    return lambda _: bot
