"""`botshard savings`: what it saves that bots with the same files stand in the same pools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from botshard.cli.errors import CommandError
from botshard.cli.options import AsJson, FolderOption, StoreOption
from botshard.cli.output import Column, note, print_document, print_table, progress_bar

if TYPE_CHECKING:
    from botshard.cli.world import World
    from botshard.sharding.ids import BotId
    from botshard.sharding.routing import FamilyRoutes, RoutingTable
    from botshard.store.base import ObjectStore

__all__ = ["savings"]

_READERS = 8
_COLUMNS = (
    Column("GROUP"),
    Column("FRAMEWORK"),
    Column("FAMILIES", right=True),
    Column("BOTS", right=True),
    Column("POOLS", right=True),
    Column("DISTINCT", right=True),
    Column("IN POOLS", right=True),
    Column("PLAIN HASHING", right=True),
    Column("SAVED", right=True),
)


def savings(*, store: StoreOption = None, folder: FolderOption = None, as_json: AsJson = False) -> None:
    """Tell what sharding by family saves against plain hashing.

    Bots of one backbone share big files. DISTINCT: the bytes of all files, each counted once. IN POOLS: the bytes of
    the files of each pool's bots, each counted once a pool. PLAIN HASHING: the same if the bots were spread over as
    many pools by their ids alone. Reads the manifest of every bot.

    Examples:
      botshard savings

      botshard savings --json
    """
    from botshard.cli.context import session
    from botshard.cli.looking import look_at_all
    from botshard.cli.texts import problem_notes
    from botshard.sharding.similarity import compare_with_plain_hashing
    from botshard.sharding.units import format_bytes

    with session(store, folder) as opened:
        world = look_at_all(opened)
        if world.table is None:
            raise CommandError(f"no routing table has been published in {opened.store.url}")
        with progress_bar("reading manifests") as progress:
            served = _served(world, world.table)
            files, unreadable = _read_files(opened.store, world, served, progress)
    found = compare_with_plain_hashing({bot: served[bot] for bot in files}, files)
    if as_json:
        print_document({"groups": found, "unreadable": unreadable})
        return
    print_table(
        _COLUMNS,
        (
            [
                *(one.group, one.framework, one.families, one.bots, one.pools),
                *map(format_bytes, (one.distinct_bytes, one.pool_bytes, one.plain_pool_bytes, one.saved_bytes)),
            ]
            for one in found
        ),
    )
    for bot, why in list(unreadable.items())[:10]:
        note(f"{bot} is not counted: {why}")
    for line in problem_notes(world.problems):
        note(line)


def _served(world: World, table: RoutingTable) -> dict[BotId, FamilyRoutes]:
    """Every bot that the table has pools for, with its family's routes."""
    by_key = {routes.key: routes for routes in table.families.values()}
    found = {}
    for bot in world.bots.values():
        routes = None if bot.retired else by_key.get(bot.serving.family_key)
        if routes is not None:
            found[bot.id] = routes
    return found


def _read_files(
    store: ObjectStore,
    world: World,
    served: Mapping[BotId, FamilyRoutes],
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[BotId, dict[str, int]], dict[BotId, str]]:
    """Digest and size of each bot's files; and why some bots' manifests cannot be read."""
    from botshard.sharding.errors import InvalidDocumentError
    from botshard.store.artifacts import read_manifest
    from botshard.store.base import CorruptObjectError, ObjectNotFoundError

    def read(bot: BotId) -> dict[str, int] | str:
        try:
            manifest = read_manifest(store, world.bots[bot].serving.artifact)
        except (ObjectNotFoundError, CorruptObjectError, InvalidDocumentError) as error:
            return str(error)
        return {entry.sha256: entry.size_bytes for entry in manifest.files.values()}

    files: dict[BotId, dict[str, int]] = {}
    unreadable: dict[BotId, str] = {}
    with ThreadPoolExecutor(_READERS) as readers:
        for done, (bot, found) in enumerate(zip(served, readers.map(read, served), strict=True), 1):
            if isinstance(found, str):
                unreadable[bot] = found
            else:
                files[bot] = found
            if progress is not None:
                progress(done, len(served))
    return files, unreadable
