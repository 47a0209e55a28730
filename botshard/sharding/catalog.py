"""What a bot is: its spec as its author wrote it, its versions, and the entry that the catalog keeps.

The catalog entry (`Bot`) is small, since all of them are read by every router and replica, which keep of each only what
they need (`botshard.store.catalog_follower`); the whole spec (`BotSpec`) is part of the artifact and is read by the
replica that loads the bot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from botshard.sharding.errors import CallerError
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId, VersionNumber

__all__ = ["Bot", "BotSpec", "FamilyKey", "ResourceHints", "Rollout", "TensorSpec", "Version"]


@dataclass(frozen=True, slots=True)
class FamilyKey:
    """The locality-sensitive part of the hash. Bots with equal keys may share a pool; others never do."""

    group: GroupName
    framework: Framework
    backbone: str | None = None
    """What the bots share besides the framework (an encoder, an embedding table); None: nothing."""
    pin: str | None = None
    """Keeps chosen bots together and apart from all others; None: no such wish."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output tensor as a client sees it: Open Inference Protocol name, datatype and shape."""

    name: str
    datatype: str
    """`BOOL`, `UINT8` … `FP64` or `BYTES`."""
    shape: tuple[int, ...]
    """Sizes; -1 is free. The first dimension is the batch and is -1."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """Which version is served."""

    version: VersionNumber | None = None
    """A fixed version; None: the newest one."""


@dataclass(frozen=True, slots=True)
class ResourceHints:
    """What the author expects, used until the bot has been measured."""

    memory_bytes: int | None = None
    """Resident bytes on a replica; None: estimated from the artifact's size."""
    rate_per_s: float | None = None
    """Requests a second at the busiest; None: nothing is known."""


@dataclass(frozen=True, slots=True)
class BotSpec:
    """A bot as its author declares it in `bot.yaml`, checked; it becomes part of the artifact (without the rollout)."""

    id: BotId
    tenant: TenantId
    group: GroupName
    framework: Framework
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    model: Mapping[str, object]
    """How the files make a model: `format` (`safetensors`, `torch-export`, `keras`, `savedmodel`, `onnx`, `kserve`),
    `file`, for safetensors `architecture` with its parameters, for kserve `class` and perhaps `payload`."""
    preprocess: tuple[Mapping[str, object], ...] = ()
    """Steps before the model, in order: `{"step": name, ...parameters}`; see `botshard.processing`."""
    postprocess: tuple[Mapping[str, object], ...] = ()
    """Steps after the model, in order."""
    backbone: str | None = None
    pin: str | None = None
    rollout: Rollout = Rollout()
    resources: ResourceHints = ResourceHints()
    sample: str | None = None
    """File of the artifact with an infer request that a replica runs before it serves the bot; None: there is none."""

    @property
    def family_key(self) -> FamilyKey:
        """The locality-sensitive properties."""
        return FamilyKey(self.group, self.framework, self.backbone, self.pin)


@dataclass(frozen=True, slots=True)
class Version:
    """One published version of a bot. Never changes after it was published."""

    number: VersionNumber
    artifact: str
    """sha256 of the artifact's manifest, 64 hex digits."""
    size_bytes: int
    """Sum of the artifact's files, in bytes."""
    family_key: FamilyKey
    published_at_s: int
    """Seconds since 1970, UTC, by the publisher's clock; for people, never for decisions."""
    resources: ResourceHints = ResourceHints()


@dataclass(frozen=True, slots=True)
class Bot:
    """The catalog's entry for one bot: `versions` ascending by number, at least one."""

    id: BotId
    tenant: TenantId
    versions: tuple[Version, ...]
    rollout: Rollout = Rollout()
    retired: bool = False
    """A retired bot is answered as unknown; its versions keep their numbers and come back if it is published again."""

    @property
    def latest(self) -> Version:
        """The newest version."""
        return self.versions[-1]

    @property
    def serving(self) -> Version:
        """The version that the rollout names.

        Raises: CallerError if the rollout names a version that is not there (a decoded entry is checked for that).
        """
        wanted = self.rollout.version
        if wanted is None:
            return self.versions[-1]
        for version in self.versions:
            if version.number == wanted:
                return version
        raise CallerError(f"bot {self.id!r}: the rollout names version {wanted}, which does not exist")
