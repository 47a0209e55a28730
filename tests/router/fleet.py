"""What a router sees of the world, made by tests: a real store with a catalog and a routing table in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import (
    BotId,
    Epoch,
    FamilyId,
    Framework,
    GroupName,
    PoolName,
    TenantId,
    VersionNumber,
)
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.catalog import CatalogStore, Edit
from botshard.store.files import FileStore
from botshard.store.table import TableStore

__all__ = ["REALTIME", "SLEEPY", "Fleet", "bot_entry", "pool"]

REALTIME = FamilyKey(GroupName("realtime"), Framework("torch"))
SLEEPY = FamilyKey(GroupName("sleepy"), Framework("torch"))


def pool(ordinal: int = 0, key: FamilyKey = REALTIME) -> PoolName:
    """Name of a family's pool."""
    return pool_name(key.group, family_id(key), ordinal)


def bot_entry(
    name: str, key: FamilyKey = REALTIME, *, version: int = 1, retired: bool = False, tenant: str = "acme"
) -> Bot:
    """A catalog entry."""
    versions = tuple(
        Version(VersionNumber(number), f"{number:064x}", 1000, key, 1_700_000_000) for number in range(1, version + 1)
    )
    return Bot(BotId(name), TenantId(tenant), versions, retired=retired)


class Fleet:
    """A store in a folder, and what the tests publish into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FileStore(folder)
        self.epoch = 0
        self._etag: str | None = None

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def publish_bots(
        self,
        *names: str,
        key: FamilyKey = REALTIME,
        version: int = 1,
        retired: bool = False,
        tenant: str = "acme",
    ) -> None:
        def edit_of(name: str) -> Edit:
            return lambda _: bot_entry(name, key, version=version, retired=retired, tenant=tenant)

        CatalogStore(self.store).change_many({BotId(name): edit_of(name) for name in names})

    def publish_table(
        self,
        *urls: str,
        sleepy: Sequence[str] = (),
        request_timeout_s: float = 5.0,
        cold_start_timeout_s: float = 5.0,
        epoch: int | None = None,
    ) -> RoutingTable:
        """A table in which every realtime bot lives in pools at all of `urls`, and sleepy ones likewise."""
        self.epoch = self.epoch + 1 if epoch is None else epoch
        families: dict[FamilyId, FamilyRoutes] = {}
        for key, places in ((REALTIME, urls), (SLEEPY, sleepy)):
            if places:
                routes = _family(key, {pool(ordinal, key): url for ordinal, url in enumerate(places)})
                families[routes.id] = routes
        groups = {
            key.group: GroupRoute(key is REALTIME, request_timeout_s, cold_start_timeout_s)
            for key in (REALTIME, SLEEPY)
        }
        table = RoutingTable(Epoch(self.epoch), groups, families)
        self._etag = TableStore(self.store).publish(table, previous_etag=self._etag)
        return table

    def overwrite(self, key: str, data: bytes) -> None:
        """Put anything under a key."""
        etag = self.store.put(key, data)
        if key.startswith("table/"):
            self._etag = etag


def _family(key: FamilyKey, urls: Mapping[PoolName, str]) -> FamilyRoutes:
    return FamilyRoutes(family_id(key), key, 0, dict(urls), (tuple(urls),))
