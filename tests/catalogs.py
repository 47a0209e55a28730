"""Catalogs of many bots, and what holding them takes."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from typing import TypeVar

from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.codec import encode_catalog
from botshard.sharding.ids import BotId, TenantId, VersionNumber
from botshard.store.base import ObjectStore
from botshard.store.catalog_documents import CatalogHead, encode_head
from botshard.store.layout import CATALOG_HEAD, catalog_key, catalog_name_of

__all__ = ["bytes_a_bot", "make_bots", "write_catalog"]

T = TypeVar("T")


def make_bots(count: int, key: FamilyKey) -> list[Bot]:
    """Bots of different customers and sizes."""
    return [
        Bot(
            BotId(f"customer-{number:06}.intents"),
            TenantId(f"customer-{number:06}"),
            (Version(VersionNumber(1), f"{number:064x}", 1_000_000 + number, key, 1_700_000_000),),
        )
        for number in range(count)
    ]


def write_catalog(store: ObjectStore, bots: Iterable[Bot]) -> None:
    """What publishing all of them leaves, faster."""
    objects: dict[str, list[Bot]] = {}
    for bot in bots:
        objects.setdefault(catalog_name_of(bot.id), []).append(bot)
    for name, members in objects.items():
        store.put(catalog_key(name), encode_catalog(1, members))
    store.put(CATALOG_HEAD, encode_head(CatalogHead(1, dict.fromkeys(objects, 1))))


def bytes_a_bot(bots: Iterable[Bot], make: Callable[[], T]) -> tuple[float, T]:
    """What `make` allocates and keeps, a bot, over the ids themselves; and what it makes."""
    gc.collect()
    tracemalloc.start()
    try:
        before_bytes = tracemalloc.get_traced_memory()[0]
        made = make()
        gc.collect()
        held_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
    finally:
        tracemalloc.stop()
    ids = [bot.id for bot in bots]
    return (held_bytes - sum(map(sys.getsizeof, ids))) / len(ids), made
