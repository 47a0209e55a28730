"""Backbones: publishing an encoder under a name, fetching it, and whether a bot is a head on one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from botshard.bots.architectures import architecture_from_document
from botshard.bots.encoder_folder import check_encoder_files, read_encoder_folder
from botshard.bots.encoder_spec import EncoderSpec
from botshard.bots.hints import known_names
from botshard.sharding.catalog import BotSpec
from botshard.sharding.errors import InvalidDocumentError, Problem, TerminalError
from botshard.sharding.ids import check_label
from botshard.store.artifact_cache import ArtifactCache
from botshard.store.artifacts import cached_manifest, store_artifact
from botshard.store.backbones import BackboneRecord, keep_backbone, list_backbones, read_backbone
from botshard.store.base import ObjectStore
from botshard.store.manifests import ArtifactManifest, describe_files

__all__ = [
    "BackboneFiles",
    "Backbones",
    "UnknownBackboneError",
    "head_problems",
    "package_folder",
    "publish_backbone",
]


class UnknownBackboneError(TerminalError):
    """The store has no backbone with this name."""

    def __init__(self, name: str, known: Sequence[str], *, where: str) -> None:
        hint = f"must be {known_names(name, known)}" if known else "none was published yet"
        super().__init__(f"{where}: there is no backbone {name!r}; {hint}; `botshard backbone publish` stores one")
        self.name = name


def publish_backbone(store: ObjectStore, name: str, folder: Path, /, *, now_s: int) -> tuple[BackboneRecord, bool]:
    """Check the encoder in a folder and store it under a name; its record, and whether it is new.

    Raises: InvalidDocumentError with every problem, BackboneTakenError where the name is that of another content,
        StoreError.
    """
    problem = check_label(name, "name")
    if problem is not None:
        raise InvalidDocumentError("backbone", [problem])
    encoder = read_encoder_folder(folder)
    files = {file: folder / file for file in encoder.files}
    manifest = ArtifactManifest(encoder.spec.to_document(), describe_files(files))
    record = BackboneRecord(name, manifest.digest, manifest.size_bytes, encoder.spec.width, now_s)
    known = read_backbone(store, name)
    if known is None or known.artifact == record.artifact:  # what is refused anyway is not sent
        store_artifact(store, manifest, files)
    return keep_backbone(store, record), known is None


def package_folder(package: str, /) -> Path:
    """The folder with an encoder that an installed Python package carries. Nothing of the package is executed.

    Raises: InvalidDocumentError where it is not installed, or carries none or several.
    """
    try:
        spec = find_spec(package) if "." not in package else None
    except (ValueError, ImportError):
        spec = None
    if spec is None or spec.origin is None:
        raise InvalidDocumentError("package", [Problem.of("", package, "an installed Python package")])
    folders = sorted(path.parent for path in Path(spec.origin).parent.rglob("model.safetensors"))
    if len(folders) != 1:
        found = f"{len(folders)} folders with a model.safetensors in {package}"
        raise InvalidDocumentError("package", [Problem("", found, "a package with one; name the folder instead")])
    return folders[0]


def head_problems(spec: BotSpec, backbone: BackboneRecord | None, known: Sequence[str], /) -> list[Problem]:
    """What keeps a bot from being a head on the backbone that it names.

    Args:
        spec: of a bot whose own fields are sound.
        backbone: with the name that it names; None: there is none.
        known: names of all backbones, to offer in the error.
    """
    if backbone is None:
        names = known_names(spec.backbone, known) if known else "the name of a backbone; none was published yet"
        expected = f"{names}: `botshard backbone publish {spec.backbone} FOLDER` stores one"
        return [Problem.of("backbone", spec.backbone, expected)]
    takes = architecture_from_document(spec.model["architecture"]).input_shape
    if takes == (-1, backbone.width):
        return []
    expected = f"an architecture over the {backbone.width} numbers that {backbone.name} makes of a text"
    return [Problem.of("model.architecture", f"one over {list(takes)}", expected)]


@dataclass(frozen=True, slots=True)
class BackboneFiles:
    """A backbone's verified files, in a folder of the cache."""

    name: str
    artifact: str
    spec: EncoderSpec
    folder: Path


@dataclass(frozen=True, slots=True)
class Backbones:
    """Backbones as a replica gets them: by name from the store, through the cache on its disk."""

    store: ObjectStore
    cache: ArtifactCache

    @contextmanager
    def use(self, name: str, /) -> Iterator[BackboneFiles]:
        """A backbone, whose files stay for the length of the block (and as long as they are mapped).

        Raises: UnknownBackboneError, InvalidDocumentError, StoreError.
        """
        record = read_backbone(self.store, name)
        if record is None:
            known = [one.name for one in list_backbones(self.store)]
            raise UnknownBackboneError(name, known, where=self.store.url)
        with self.cache.use(self.store, record.artifact, size_bytes=record.size_bytes) as folder:
            spec = EncoderSpec.from_document(cached_manifest(folder).spec, f"backbone {name}")
            # Publishing checked the same, but the store may hold what another program put there.
            problems = check_encoder_files(folder, spec)
            if problems:
                raise InvalidDocumentError(f"backbone {name}", problems)
            yield BackboneFiles(name, record.artifact, spec, folder)
