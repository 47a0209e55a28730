"""Publishing folders: everything is checked before anything is stored; then artifacts, then the catalog.

A publisher that dies in between leaves immutable objects that nobody refers to; the next publish of the same folder
finds them there and goes on. Version numbers are given inside the catalog's compare-and-swap, so two publishers of one
bot never give one number to two artifacts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from botshard.bots.bot_file import BotFolder
from botshard.bots.checked_folders import (
    CheckedFolder,
    check_folder,
    compare_folders,
    compare_with_backbones,
    compare_with_catalog,
    tenant_problem,
)
from botshard.bots.limits import Limits
from botshard.bots.rollouts import read_bots
from botshard.sharding.catalog import Bot, BotSpec, Version
from botshard.sharding.errors import Problem
from botshard.sharding.hashing import bot_hash, catalog_object_index
from botshard.sharding.ids import BotId, VersionNumber
from botshard.store.artifacts import store_artifact
from botshard.store.base import ObjectStore
from botshard.store.catalog import CatalogStore
from botshard.store.manifests import ArtifactManifest
from botshard.store.presence import Presence

__all__ = ["PublishResult", "PublishStatus", "publish"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_WORKERS = 8  # they wait for the store; more than this gained nothing on one machine
_BOTS_A_ROUND = 256  # at least; a publisher that dies has published all rounds before


class PublishStatus(StrEnum):
    """What became of a folder."""

    CREATED = "created"
    """It is a new version."""
    UNCHANGED = "unchanged"
    """It is what the bot's newest version holds already."""
    RESTORED = "restored"
    """As unchanged, but the bot was retired and is served again."""
    REFUSED = "refused"
    """It has problems, or (without any of its own) another folder of the same call has."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What became of one folder."""

    folder: Path
    status: PublishStatus
    bot_id: BotId | None = None
    """None where `bot.yaml` is too wrong to know."""
    version: VersionNumber | None = None
    """The version with the folder's content; by a dry run the one that it would get; None where it was refused."""
    problems: tuple[Problem, ...] = ()
    """Every reason for a refusal."""


def publish(  # noqa: PLR0913 - all but the first two are options
    store: ObjectStore,
    folders: Iterable[Path],
    *,
    now_s: int,
    workers: int = _WORKERS,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
    keep_going: bool = False,
    limits: Limits | None = None,
) -> list[PublishResult]:
    """Check all folders, then store them as versions of their bots; one result a folder, in the given order.

    If any folder is refused nothing is stored, unless `keep_going`: then the others are. A new version takes over the
    rollout of its `bot.yaml`; content that is the newest version already changes nothing but a rollout to a number,
    so that publishing again does not undo a rollback, and brings a retired bot back.

    Args:
        store: where to.
        folders: one a bot.
        now_s: seconds since 1970, written into new versions.
        workers: folders that are read or sent at once.
        progress: told (steps done, all steps); each folder has two, its check and its storing.
        dry_run: store nothing; tell what would become of each folder.
        keep_going: publish the good folders although others are bad.
        limits: bounds of one bot; None: the defaults.

    Raises: StoreError; what was published until then is complete.
    """
    paths = list(folders)
    bounds, steps = limits or Limits(), _Steps(2 * len(paths), progress)
    checked = compare_folders(_in_parallel(lambda path: steps.after(check_folder(path, bounds)), paths, workers))
    known = read_bots(store, [one.bot_id for one in checked if one.bot_id is not None])
    checked = compare_with_backbones(compare_with_catalog(checked, known), store)
    results = {index: _refused(one) for index, one in enumerate(checked)}
    publications = {
        index: _Publication(one.bot, one.manifest, now_s)
        for index, one in enumerate(checked)
        if one.bot is not None and one.manifest is not None and not one.problems
    }
    if len(publications) == len(checked) or keep_going:
        if dry_run:
            _preview(publications.values(), known, steps)
        else:
            _store(store, list(publications.values()), workers, steps)
        results.update({index: publication.result for index, publication in publications.items()})
    return [results[index] for index in range(len(checked))]


class _Publication:
    """One sound folder that becomes a version, and what became of it."""

    def __init__(self, bot: BotFolder, manifest: ArtifactManifest, now_s: int) -> None:
        self.spec: BotSpec = bot.spec
        self.manifest = manifest
        self.files: Mapping[str, Path] = {path.as_posix(): bot.folder / path for path in bot.files}
        self._now_s = now_s
        self.result = PublishResult(bot.folder, PublishStatus.REFUSED, bot.spec.id)

    def edit(self, entry: Bot | None) -> Bot:
        """The catalog's entry with this version. Called again where another publisher was faster."""
        if entry is None:
            return self._add_version(Bot(self.spec.id, self.spec.tenant, versions=()), VersionNumber(1))
        problem = tenant_problem(entry, self.spec.tenant)
        if problem is not None:
            self.result = replace(self.result, status=PublishStatus.REFUSED, version=None, problems=(problem,))
            return entry
        if entry.latest.artifact != self.manifest.digest:
            return self._add_version(entry, VersionNumber(entry.latest.number + 1))
        status = PublishStatus.RESTORED if entry.retired else PublishStatus.UNCHANGED
        self.result = replace(self.result, status=status, version=entry.latest.number)
        rollout = entry.rollout if self.spec.rollout.version is None else self.spec.rollout
        return replace(entry, rollout=rollout, retired=False)

    def _add_version(self, entry: Bot, number: VersionNumber) -> Bot:
        version = Version(
            number=number,
            artifact=self.manifest.digest,
            size_bytes=self.manifest.size_bytes,
            family_key=self.spec.family_key,
            published_at_s=self._now_s,
            resources=self.spec.resources,
        )
        self.result = replace(self.result, status=PublishStatus.CREATED, version=number)
        return replace(entry, versions=(*entry.versions, version), rollout=self.spec.rollout, retired=False)


class _Steps:
    """Counts for a progress bar; several threads call it, and `tell` hears growing numbers."""

    def __init__(self, count: int, tell: Callable[[int, int], None] | None) -> None:
        self._count = count
        self._tell = tell
        self._done = 0
        self._lock = threading.Lock()

    def after(self, value: _Item) -> _Item:
        """Count one step and hand `value` through."""
        with self._lock:
            self._done += 1
            if self._tell is not None:
                self._tell(self._done, self._count)
        return value


def _in_parallel(work: Callable[[_Item], _Result], items: Sequence[_Item], workers: int) -> list[_Result]:
    with ThreadPoolExecutor(max_workers=max(1, min(workers, len(items)))) as pool:
        try:
            return list(pool.map(work, items))
        except BaseException:
            # Whoever presses Ctrl-C waits for what is being done now, not for thousands of folders in the queue.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _rounds(publications: Iterable[_Publication]) -> Iterator[list[_Publication]]:
    """All that goes into a catalog object is in one round: however many bots, each object is read and written once."""
    objects: dict[int, list[_Publication]] = {}
    for publication in publications:
        objects.setdefault(catalog_object_index(bot_hash(publication.spec.id)), []).append(publication)
    chosen: list[_Publication] = []
    for number in sorted(objects):
        chosen += objects[number]
        if len(chosen) >= _BOTS_A_ROUND:
            yield chosen
            chosen = []
    if chosen:
        yield chosen


def _store(store: ObjectStore, publications: Sequence[_Publication], workers: int, steps: _Steps) -> None:
    """Artifacts, then the catalog, round by round."""
    presence = Presence(store)
    if len(publications) > _BOTS_A_ROUND:
        objects = sum(1 + len(publication.files) for publication in publications)
        presence = Presence.listed(store, questions=objects)

    def send(publication: _Publication) -> str:
        return steps.after(store_artifact(store, publication.manifest, publication.files, presence=presence))

    for chosen in _rounds(publications):
        _in_parallel(send, chosen, workers)
        CatalogStore(store).change_many({publication.spec.id: publication.edit for publication in chosen})


def _preview(publications: Iterable[_Publication], known: Mapping[BotId, Bot], steps: _Steps) -> None:
    for publication in publications:
        steps.after(publication.edit(known.get(publication.spec.id)))


def _refused(one: CheckedFolder) -> PublishResult:
    return PublishResult(one.folder, PublishStatus.REFUSED, one.bot_id, problems=one.problems)
