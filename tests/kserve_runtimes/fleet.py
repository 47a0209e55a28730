"""A store with bots and a routing table."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from botshard.bots.publish import publish
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import BotId, Epoch, Framework, GroupName, PoolName, ShardIndex
from botshard.sharding.routing import FamilyRoutes, GroupRoute, Linger, RoutingTable, Target
from botshard.store.artifacts import read_manifest
from botshard.store.base import ObjectStore
from botshard.store.catalog import CatalogStore
from botshard.store.layout import blob_key
from botshard.store.reports import ReplicaReport, read_reports
from botshard.store.table import TableStore
from botshard.store.urls import open_store

__all__ = ["ROOT", "Fleet", "key_of", "pool_of"]

ROOT = Path(__file__).parents[2]
REALTIME, SLEEPY = GroupName("realtime"), GroupName("non-realtime")


def key_of(group: str, framework: str) -> FamilyKey:
    """The family of the test bots of a group and a framework."""
    return FamilyKey(GroupName(group), Framework(framework))


def pool_of(group: str, framework: str, ordinal: int = 0) -> PoolName:
    """Name of a pool of that family."""
    key = key_of(group, framework)
    return pool_name(key.group, family_id(key), ordinal)


class Fleet:
    """A store, by default a folder's; what belongs to it besides is in `folder`."""

    def __init__(self, folder: Path, *, url: str | None = None, credentials: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        (folder / "store").mkdir(parents=True)
        self.url = url or f"file://{folder}/store"
        self.credentials = dict(credentials or {})
        self.store: ObjectStore = open_store(self.url, self.credentials)
        self._epoch = 0

    def publish(self, *folders: Path) -> None:
        """Publish bots; all must be sound."""
        results = publish(self.store, folders, now_s=int(time.time()))
        assert not any(result.problems for result in results), results

    def publish_table(
        self,
        families: Mapping[FamilyKey, Iterable[PoolName]],
        *,
        targets: Mapping[FamilyKey, PoolName] | None = None,
        lingering: Mapping[FamilyKey, PoolName] | None = None,
        urls: Mapping[PoolName, str] | None = None,
        request_timeout_s: float = 5.0,
    ) -> Epoch:
        """The next table: one shard a family, routed to the given pools."""
        self._epoch += 1
        epoch = Epoch(self._epoch)
        routes = {}
        for key, names in families.items():
            pools = tuple(names)
            target = (targets or {}).get(key)
            linger = (lingering or {}).get(key)
            everybody = dict.fromkeys((*pools, *filter(None, (target, linger))))
            routes[family_id(key)] = FamilyRoutes(
                id=family_id(key),
                key=key,
                bits=0,
                urls={name: (urls or {}).get(name, "http://127.0.0.1:9") for name in everybody},
                shards=(pools,),
                targets={ShardIndex(0): Target((target,), epoch)} if target else {},
                lingering={ShardIndex(0): Linger((linger,), time.time() + 60)} if linger else {},
            )
        groups = {
            REALTIME: GroupRoute(realtime=True, request_timeout_s=request_timeout_s, cold_start_timeout_s=30.0),
            SLEEPY: GroupRoute(realtime=False, request_timeout_s=request_timeout_s, cold_start_timeout_s=30.0),
        }
        tables = TableStore(self.store)
        previous = tables.read()
        tables.publish(RoutingTable(epoch, groups, routes), previous_etag=previous[1] if previous else None)
        return epoch

    def damage(self, bot_id: str) -> None:
        """Cut the newest version's weights in the store in half."""
        bot = CatalogStore(self.store).read_all()[BotId(bot_id)]
        entry = next(iter(read_manifest(self.store, bot.latest.artifact).files.values()))
        key = blob_key(entry.sha256)
        self.store.put(key, self.store.get(key).data[: entry.size_bytes // 2])

    def report(self, pool: PoolName, replica: str) -> ReplicaReport | None:
        """What a replica said last."""
        reports, problems = read_reports(self.store, pool)
        assert not problems
        return next((report for report in reports if report.replica == replica), None)

    def environ(self, pool: PoolName, framework: str, replica: str, **more: str) -> dict[str, str]:
        """Settings of a replica, without its socket."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RUNTIME_POOL": pool,
            "RUNTIME_REPLICA": replica,
            "RUNTIME_FRAMEWORK": framework,
            "RUNTIME_STORE_URL": self.url,
            "RUNTIME_CACHE_DIR": str(self.folder / "cache"),
            "RUNTIME_POLL_INTERVAL_S": "0.2",
            **self.credentials,
            **more,
        }

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()
