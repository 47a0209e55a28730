"""What it takes to hold a catalog: `python -m benchmarks.catalog_memory [--bots N ...] [--json FILE]`.

20,000 bots (or as many as said) of four families in a folder, followed by a process as a router, a replica and the
controller do. Memory is bytes a bot over the ids themselves, as Python was asked for them (`tracemalloc`) and as the
system sees them (growth of the resident set); the peer keeps entries as they were published. Seconds are those of the
first reading, of taking up 100 bots that were changed at once, and of finding that nothing has changed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.catalog_roles import ROLES
from benchmarks.report import Row, parser, publish
from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.codec import encode_catalog
from botshard.sharding.hashing import family_id, pool_name, rank_pools
from botshard.sharding.ids import BotId, Epoch, Framework, GroupName, ShardIndex, TenantId, VersionNumber
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.base import ObjectStore
from botshard.store.catalog import CatalogStore
from botshard.store.catalog_documents import CatalogHead, encode_head
from botshard.store.layout import CATALOG_HEAD, catalog_key, catalog_name_of
from botshard.store.table import TableStore
from botshard.store.urls import open_store

_BOTS = 20_000
_CHANGED = 100
_BITS = 8
_POOLS = 16
_REPLICAS = 2
_BAR_BYTES = 100
_PEER = "whole entries"
_KEYS = tuple(
    FamilyKey(GroupName(group), Framework(framework))
    for group in ("realtime", "batch")
    for framework in ("torch", "tensorflow")
)


def main() -> int:
    """Measure, print, compare with the bar."""
    options = parser("What it takes to hold a catalog")
    options.add_argument("--bots", type=int, nargs="+", default=[_BOTS], help="sizes of the catalog, in bots")
    chosen = options.parse_args()
    rows = []
    for count in chosen.bots:
        with tempfile.TemporaryDirectory(prefix="botshard-catalog-") as name:
            rows += _measure(Path(name), count)
    return publish(rows, chosen.json)


def _measure(folder: Path, count: int) -> list[Row]:
    url = (folder / "store").as_uri()
    store = open_store(url, os.environ)
    _write_catalog(store, count)
    TableStore(store).publish(_table(), previous_etag=None)
    found = {role: _follow(role, store, url, count=count) for role in ROLES}
    store.close()
    rows = []
    for role, figures in found.items():
        if role == _PEER:
            continue
        peer = found[_PEER]
        has_bar = role == "router"
        rows += [
            _row(f"{role}, {count:,} bots: bytes a bot over its id", "bytes", figures, peer, has_bar=has_bar),
            _row(f"{role}, {count:,} bots: of the resident set", "rssBytes", figures, peer),
            _row(f"{role}, {count:,} bots: first reading, s of CPU", "firstS", figures, peer),
            _row(f"{role}, {count:,} bots: {_CHANGED} changed, s of CPU", "againS", figures, peer),
            _row(f"{role}, {count:,} bots: nothing changed, s of CPU", "nothingS", figures, peer),
        ]
    return rows


def _row(
    what: str, name: str, figures: Mapping[str, float], peer: Mapping[str, float], *, has_bar: bool = False
) -> Row:
    ours, theirs = figures[name], peer[name]
    ok = ours <= _BAR_BYTES if has_bar else None
    return Row(what, ours, {_PEER: theirs}, ours / theirs, f"≤ {_BAR_BYTES}" if has_bar else "", ok=ok)


def _follow(role: str, store: ObjectStore, url: str, *, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.catalog_roles", role, url, _bot_id(count - 1)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018 - both are pipes
        process.stdout.readline()
        _change_some(store, count)
        print(file=process.stdin, flush=True)
        figures: dict[str, float] = json.loads(process.stdout.readline())
    ids_bytes = sum(sys.getsizeof(_bot_id(number)) for number in range(count))
    over_ids = {name: (figures[name] - ids_bytes) / count for name in ("bytes", "rssBytes")}
    return {**figures, **over_ids}


def _write_catalog(store: ObjectStore, count: int) -> None:
    """The catalog as publishing all bots at once would leave it."""
    numbers: dict[str, list[int]] = {}
    for number in range(count):
        numbers.setdefault(catalog_name_of(_bot_id(number)), []).append(number)
    for name, members in numbers.items():
        store.put(catalog_key(name), encode_catalog(1, map(_bot, members)))
    store.put(CATALOG_HEAD, encode_head(CatalogHead(1, dict.fromkeys(numbers, 1))))


def _change_some(store: ObjectStore, count: int) -> None:
    """Publish new versions, of another size, of bots anywhere in the catalog."""
    chosen = random.sample(range(count), min(_CHANGED, count))
    CatalogStore(store).change_many({_bot_id(number): _with_one_more for number in chosen})


def _with_one_more(bot: Bot | None) -> Bot | None:
    if bot is None:
        raise RuntimeError("a bot of the benchmark is not in the catalog")
    last = bot.latest
    number = VersionNumber(last.number + 1)
    version = Version(number, last.artifact, last.size_bytes + 4096, last.family_key, last.published_at_s)
    return Bot(bot.id, bot.tenant, (*bot.versions, version))


def _bot_id(number: int) -> BotId:
    return BotId(f"customer-{number:06d}.intents")


def _bot(number: int) -> Bot:
    """One version for most, two or three for every tenth; sizes differ from bot to bot."""
    key = _KEYS[number % len(_KEYS)]
    versions = tuple(
        Version(VersionNumber(index + 1), f"{number:063x}{index}", 1_000_000 + 64 * number, key, 1_700_000_000 + index)
        for index in range(1 + (number % 10 == 0) + (number % 20 == 0))
    )
    return Bot(_bot_id(number), TenantId(f"customer-{number:06d}"), versions)


def _table() -> RoutingTable:
    families = {}
    for key in _KEYS:
        family = family_id(key)
        pools = [pool_name(key.group, family, ordinal) for ordinal in range(_POOLS)]
        shards = tuple(rank_pools(ShardIndex(shard), _BITS, pools)[:_REPLICAS] for shard in range(1 << _BITS))
        urls = {pool: f"http://{pool}.example" for pool in pools}
        families[family] = FamilyRoutes(family, key, _BITS, urls, shards)
    groups = {key.group: GroupRoute(True, 10.0, 30.0) for key in _KEYS}
    return RoutingTable(Epoch(1), groups, families)


if __name__ == "__main__":
    sys.exit(main())
