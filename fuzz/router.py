"""Attacks the router's data path: `python -m fuzz.router [--cases N] [--seed S]`.

A router in this process, real sockets, and a pool that answers with a length, in chunks, in pieces, or not at all the
first time. Clients keep their connections and send requests, most of them right and many of them alike, so that they
go the short way and the long one in any order; some are cut, spliced and overwritten at random.
What must hold: a right request gets its own answer, in its turn (every request and every answer carries a tag); the
pool is sent nothing that h11 does not read; every connection ends; nothing is in flight at the end, and nothing was
logged as a defect. The exit code is 1 where that is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

from botshard.sharding.catalog import Bot, FamilyKey, Version
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import BotId, Epoch, Framework, GroupName, TenantId, VersionNumber
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.catalog import CatalogStore, Edit
from botshard.store.files import FileStore
from botshard.store.table import TableStore
from fuzz.router_clients import BOTS, Conversation
from fuzz.router_pool import Pool
from router.main import Router, assemble, serve
from router.settings import Settings

__all__ = ["attack", "main"]

_AT_ONCE = 16
_SETTLED_S = 10.0


class _Defects(logging.Handler):
    """What is logged as one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


def main() -> int:
    """Attack, and tell what was found."""
    options = argparse.ArgumentParser(description="Attacks the router's data path")
    options.add_argument("--cases", type=int, default=100_000, help="requests in all (100,000)")
    options.add_argument("--seed", type=int, help="of what is drawn (default: another one each time)")
    chosen = options.parse_args()
    seed = random.randrange(1 << 32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}")
    began_s = time.monotonic()
    counts, problems = uvloop.run(attack(chosen.cases, seed, shows_progress=sys.stderr.isatty()))
    print(", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())))
    for problem in problems[:20]:
        print(problem)
    print(f"{len(problems)} problems in {time.monotonic() - began_s:.0f} s")
    return 1 if problems else 0


async def attack(cases: int, seed: int, *, shows_progress: bool = False) -> tuple[Counter[str], list[str]]:
    """Send so many requests; what became of them, and what was wrong."""
    defects = _Defects()
    logging.getLogger().addHandler(defects)
    chance = random.Random(seed)
    pool = Pool(random.Random(chance.random()))
    port = await pool.start()
    counts: Counter[str] = Counter()
    problems: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="botshard-fuzz-") as folder:
            store = _publish(Path(folder), port)
            router = assemble(Settings(store_url=f"file://{folder}", drain_timeout_s=2.0), store)
            listening = socket.create_server(("127.0.0.1", 0))
            address = listening.getsockname()
            ready = asyncio.Event()
            serving = asyncio.create_task(serve(router, listening, on_ready=ready.set))
            await ready.wait()
            while sum(counts.values()) < cases:
                talks = [Conversation(address[1], random.Random(chance.random())) for _ in range(_AT_ONCE)]
                for talk in await asyncio.gather(*(_held(talk) for talk in talks)):
                    counts += talk.counts
                    problems += talk.problems
                if shows_progress:
                    print(f"\r{sum(counts.values()):,} of {cases:,}", end="", file=sys.stderr)
            problems += await _settled(router)
            shortcut = router.server.shortcut
            counts["of them by the short way"] = getattr(shortcut, "taken", 0)
            router.server.stop()
            await serving
    finally:
        await pool.stop()
        logging.getLogger().removeHandler(defects)
    return counts, problems + pool.problems + defects.found


async def _held(talk: Conversation) -> Conversation:
    await talk.hold()
    return talk


async def _settled(router: Router) -> list[str]:
    """What is left once nobody asks any more."""
    until_s = time.monotonic() + _SETTLED_S
    while (left := sum(pool.outstanding for pool in router.pools)) or router.account.held_bytes:
        if time.monotonic() > until_s:
            return [f"{left} requests in flight and {router.account.held_bytes} bytes held, though nobody asks"]
        await asyncio.sleep(0.05)
    return []


def _publish(folder: Path, port: int) -> FileStore:
    store = FileStore(folder)
    key = FamilyKey(GroupName("realtime"), Framework("torch"))

    def edit_of(name: BotId) -> Edit:
        return lambda _: Bot(name, TenantId("tenant"), (Version(VersionNumber(1), "0" * 64, 1000, key, 0),))

    CatalogStore(store).change_many({BotId(name): edit_of(BotId(name)) for name in BOTS})
    family = family_id(key)
    name = pool_name(key.group, family, 0)
    routes = FamilyRoutes(family, key, 0, {name: f"http://127.0.0.1:{port}"}, ((name,),))
    table = RoutingTable(Epoch(1), {key.group: GroupRoute(True, 5.0, 5.0)}, {family: routes})
    TableStore(store).publish(table, previous_etag=None)
    return store


if __name__ == "__main__":
    sys.exit(main())
