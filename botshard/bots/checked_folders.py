"""Folders on their way to the store: each read and described, then compared with each other and with the catalog."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from botshard.bots.backbones import head_problems
from botshard.bots.bot_file import BotFolder, read_bot_folder
from botshard.bots.limits import Limits
from botshard.bots.spec_document import spec_to_document
from botshard.sharding.catalog import Bot
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.ids import BotId, TenantId
from botshard.store.backbones import list_backbones, read_backbone
from botshard.store.base import ObjectStore
from botshard.store.manifests import ArtifactManifest, describe_files

__all__ = [
    "CheckedFolder",
    "check_folder",
    "compare_folders",
    "compare_with_backbones",
    "compare_with_catalog",
    "tenant_problem",
]


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """A folder after its check: a bot, or problems, or both where a sound bot cannot be published here."""

    folder: Path
    bot: BotFolder | None
    manifest: ArtifactManifest | None
    problems: tuple[Problem, ...] = ()

    @property
    def bot_id(self) -> BotId | None:
        """None where `bot.yaml` was refused."""
        return self.bot.spec.id if self.bot is not None else None


def check_folder(folder: Path, limits: Limits, /) -> CheckedFolder:
    """Read a folder and describe its files; every problem is in the result."""
    try:
        bot = read_bot_folder(folder, limits=limits)
        entries = describe_files({path.as_posix(): folder / path for path in bot.files})
    except InvalidDocumentError as error:
        return CheckedFolder(folder, None, None, error.problems)
    except OSError as error:
        problem = Problem("model.file", f"{error.filename}: {error.strerror}", "a file that can be read")
        return CheckedFolder(folder, None, None, (problem,))
    return CheckedFolder(folder, bot, ArtifactManifest(spec_to_document(bot.spec), entries))


def compare_folders(checked: Sequence[CheckedFolder], /) -> list[CheckedFolder]:
    """Refuse folders that claim one id: which of them would be the newer version is anybody's guess."""
    folders: dict[BotId | None, list[Path]] = defaultdict(list)
    for one in checked:
        folders[one.bot_id].append(one.folder)
    return [
        _with_problem(one, _same_id_problem(one, folders[one.bot_id])) if one.bot_id is not None else one
        for one in checked
    ]


def compare_with_catalog(checked: Sequence[CheckedFolder], known: Mapping[BotId, Bot], /) -> list[CheckedFolder]:
    """Refuse what the catalog's entries do not allow: another tenant, a rollout to a version that will not be there."""
    compared = []
    for one in checked:
        entry = known.get(one.bot_id) if one.bot_id is not None else None
        if one.bot is not None and entry is not None:
            one = _with_problem(one, tenant_problem(entry, one.bot.spec.tenant))  # noqa: PLW2901 - the same, refused
        compared.append(_with_problem(one, _rollout_problem(one, entry)))
    return compared


def compare_with_backbones(checked: Sequence[CheckedFolder], store: ObjectStore, /) -> list[CheckedFolder]:
    """Refuse heads whose backbone is not there, or is not what they take; asks the store only if there are heads.

    Raises: InvalidDocumentError for a damaged record of a backbone; StoreError.
    """
    named = {one.bot.spec.backbone for one in checked if one.bot is not None}
    backbones = {name: read_backbone(store, name) for name in named if name is not None}
    known = [one.name for one in list_backbones(store)] if None in backbones.values() else []
    compared = []
    for one in checked:
        problems: list[Problem] = []
        if one.bot is not None and one.bot.spec.backbone is not None:
            problems = head_problems(one.bot.spec, backbones[one.bot.spec.backbone], known)
        compared.append(replace(one, problems=(*one.problems, *problems)))
    return compared


def tenant_problem(entry: Bot, tenant: TenantId, /) -> Problem | None:
    """A bot stays its tenant's: whoever publishes an id that is taken must not get the other's traffic."""
    if entry.tenant == tenant:
        return None
    expected = f"{entry.tenant!r}, the tenant of bot {entry.id!r} since its first version (or choose another id)"
    return Problem.of("tenant", tenant, expected)


def _same_id_problem(one: CheckedFolder, folders: Sequence[Path]) -> Problem | None:
    if len(folders) == 1:
        return None
    others = ", ".join(sorted({str(folder) for folder in folders if folder != one.folder})) or "the same folder twice"
    return Problem("id", f"{one.bot_id!r} in {others} as well", "an id that no other of the folders has")


def _rollout_problem(one: CheckedFolder, entry: Bot | None) -> Problem | None:
    if one.bot is None or one.manifest is None or one.bot.spec.rollout.version is None:
        return None
    newest = entry.latest.number if entry is not None else 0
    unchanged = entry is not None and entry.latest.artifact == one.manifest.digest
    greatest = newest if unchanged else newest + 1
    wanted = one.bot.spec.rollout.version
    if wanted <= greatest:
        return None
    return Problem.of("rollout.version", wanted, f"latest, or a version from 1 to {greatest} (the one of this folder)")


def _with_problem(one: CheckedFolder, problem: Problem | None) -> CheckedFolder:
    return one if problem is None else replace(one, problems=(*one.problems, problem))
