"""The processes of `benchmarks.catalog_memory`: each follows a catalog as one part of the system does.

`python -m benchmarks.catalog_roles ROLE STORE_URL BOT`: reads the catalog, in which the bot has to be, prints a line,
waits for a line, takes up what has changed meanwhile, prints what all that took as a line of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import psutil
from prometheus_client import CollectorRegistry

from botshard.local.home import LocalHome
from botshard.sharding.ids import BotId, PoolName
from botshard.store.base import ObjectStore
from botshard.store.catalog_follower import CatalogFollower, whole_entry
from botshard.store.table import TableStore
from botshard.store.urls import open_store
from kserve_runtimes.core.follower import Follower
from kserve_runtimes.core.metrics import Metrics
from router.table import Routes
from shard_controller.group_files import GroupFiles
from shard_controller.local import LocalPools
from shard_controller.observe import Observer

__all__ = ["GROUPS", "ROLES", "main"]

GROUPS = """\
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: realtime}
spec: {class: realtime}
---
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: batch}
spec: {class: non-realtime}
"""


class Role(Protocol):
    """What holds a catalog."""

    def refresh(self) -> None:
        """Take up what has changed."""
        ...

    def knows(self, bot_id: BotId) -> bool:
        """Whether the bot is in the catalog as it was read last."""
        ...


class _Whole:
    """A follower that keeps entries as they were published."""

    def __init__(self, store: ObjectStore) -> None:
        self._follower = CatalogFollower(store, keep=whole_entry)

    def refresh(self) -> None:
        self._follower.refresh()

    def knows(self, bot_id: BotId) -> bool:
        return bot_id in self._follower.bots


class _Router:
    def __init__(self, store: ObjectStore) -> None:
        self._routes = Routes()
        self._follower = CatalogFollower(store, keep=self._routes.served.keep)

    def refresh(self) -> None:
        self._follower.refresh()
        self._routes.bots = self._follower.bots

    def knows(self, bot_id: BotId) -> bool:
        return bot_id in self._routes.bots


class _Replica:
    """A replica of the first pool of the table."""

    def __init__(self, store: ObjectStore) -> None:
        published = TableStore(store).read()
        if published is None:
            raise RuntimeError("there is no routing table")
        pool: PoolName = min(published[0].pools)
        self._follower = Follower(store, pool=pool, metrics=Metrics(CollectorRegistry()))
        self._follower.begin()

    def refresh(self) -> None:
        self._follower.poll()

    def knows(self, bot_id: BotId) -> bool:
        return self._follower.knows(bot_id)


class _Controller:
    def __init__(self, store: ObjectStore) -> None:
        self._folder = TemporaryDirectory(prefix="botshard-catalog-")
        groups = Path(self._folder.name) / "groups.yaml"
        groups.write_text(GROUPS)
        home = open_store((groups.parent / "home").as_uri(), os.environ)
        self._observer = Observer(store, LocalPools(LocalHome(home)), GroupFiles((groups,)))

    def refresh(self) -> None:
        self._observer.look()

    def knows(self, bot_id: BotId) -> bool:
        return any(load.id == bot_id for load in self._observer.observation().snapshot.bots)


ROLES: dict[str, Callable[[ObjectStore], Role]] = {
    "router": _Router,
    "replica": _Replica,
    "controller": _Controller,
    "whole entries": _Whole,
}


def main() -> None:
    """Follow, say what it took, follow again, say that."""
    make, url, bot_id = ROLES[sys.argv[1]], sys.argv[2], BotId(sys.argv[3])
    store = open_store(url, os.environ)
    rss_before = _rss_bytes()
    role = make(store)
    first_s = _timed_s(role.refresh)
    gc.collect()
    rss = _rss_bytes() - rss_before
    print("ready", flush=True)
    sys.stdin.readline()
    again_s = _timed_s(role.refresh)
    nothing_s = _timed_s(role.refresh)
    del role
    # Anew, since counting allocations takes longer than making them.
    gc.collect()
    tracemalloc.start()
    role = make(store)
    role.refresh()
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0]
    if not role.knows(bot_id):
        raise RuntimeError(f"bot {bot_id} was not read")
    found = {"bytes": traced, "rssBytes": rss, "firstS": first_s, "againS": again_s, "nothingS": nothing_s}
    print(json.dumps(found), flush=True)


def _timed_s(call: Callable[[], None]) -> float:
    started_s = time.process_time()
    call()
    return time.process_time() - started_s


def _rss_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
