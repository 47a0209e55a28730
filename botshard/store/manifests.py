"""The manifest of an artifact: its files and what the bot's author declared. Its digest names the artifact."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from botshard.sharding.errors import CallerError, InvalidDocumentError, Problem
from botshard.sharding.reading import Reader, parse_json
from botshard.store.layout import is_digest

__all__ = [
    "ARTIFACT_FORMAT",
    "ArtifactManifest",
    "FileEntry",
    "check_file_name",
    "decode_manifest",
    "describe_file",
    "describe_files",
    "sha256_hex",
]

ARTIFACT_FORMAT = "botshard.artifact/v1"

_MAX_FILES = 10_000
_MAX_NAME_CHARS = 1000
_SEGMENT = re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}\Z")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Contents of one file."""

    sha256: str
    size_bytes: int

    def __str__(self) -> str:
        """`<size> bytes with sha256 <digest>`."""
        return f"{self.size_bytes} bytes with sha256 {self.sha256}"


@dataclass(frozen=True, slots=True)
class ArtifactManifest:
    """What an artifact is. Equal manifests have equal digests, whoever makes them where."""

    spec: Mapping[str, object]
    """The bot's spec as JSON, without the rollout."""
    files: Mapping[str, FileEntry]
    """Files by name: relative, with slashes, within the artifact."""

    @property
    def digest(self) -> str:
        """sha256 of the canonical form."""
        return sha256_hex(self.encode())

    @property
    def size_bytes(self) -> int:
        """Sum of the files."""
        return sum(entry.size_bytes for entry in self.files.values())

    def encode(self) -> bytes:
        """The canonical form: JSON in UTF-8, keys sorted, no spaces.

        Raises: CallerError where the spec is not JSON or a file's name or digest is not allowed.
        """
        problems = _check_names(self.files) + [
            Problem.of(f"files.{name}.sha256", entry.sha256, "a sha256 in 64 hex digits")
            for name, entry in self.files.items()
            if not is_digest(entry.sha256)
        ]
        if problems:
            raise CallerError("\n".join(map(str, problems)))
        document = {
            "format": ARTIFACT_FORMAT,
            "spec": self.spec,
            "files": {name: {"sha256": entry.sha256, "bytes": entry.size_bytes} for name, entry in self.files.items()},
        }
        try:
            text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            return text.encode()
        except (TypeError, ValueError) as error:
            raise CallerError(f"a spec must be JSON: {error}") from error


def decode_manifest(data: bytes, /, name: str = "artifact manifest") -> ArtifactManifest:
    """The manifest in `data`; `name` says which document it is in the error.

    Raises: InvalidDocumentError with every problem and its field.
    """
    reader = Reader.of(parse_json(data, name), name)
    if reader.value.get("format") != ARTIFACT_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(ARTIFACT_FORMAT))
        reader.finish(name)
    reader.only("format", "spec", "files")
    spec = reader.inner("spec").value
    files = {}
    for file_name, entry in reader.members("files"):
        entry.only("sha256", "bytes")
        digest = entry.text("sha256")
        if not is_digest(digest):
            entry.refuse("sha256", digest, "a sha256 in 64 hex digits")
        files[file_name] = FileEntry(digest, entry.integer("bytes"))
    for problem in _check_names(files):
        reader.note(problem)
    reader.finish(name)
    return ArtifactManifest(spec, files)


def check_file_name(value: object, /, field: str) -> Problem | None:
    """None if `value` can name a file of an artifact, else what is wrong with it."""
    if isinstance(value, str) and len(value) <= _MAX_NAME_CHARS:
        segments = value.split("/")
        if all(_SEGMENT.match(segment) and segment not in (".", "..") for segment in segments) and _is_utf8(value):
            return None
    return Problem.of(field, value, "a relative path within the folder: no '..', no '\\', no control characters")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_names(files: Mapping[str, object]) -> list[Problem]:
    if len(files) > _MAX_FILES:
        return [Problem.of("files", len(files), f"at most {_MAX_FILES} files")]
    problems = [problem for name in files if (problem := check_file_name(name, f"files.{name}"))]
    for name in files:
        parents = name.split("/")[:-1]
        above = {"/".join(parents[: count + 1]) for count in range(len(parents))}
        problems += [
            Problem.of(f"files.{name}", name, f"beside, not below, the file {folder!r}")
            for folder in sorted(above & files.keys())
        ]
    return problems


def describe_file(path: Path, /) -> FileEntry:
    """Digest and size of a regular file.

    Raises: InvalidDocumentError for a symbolic link, folder or device; OSError where it cannot be read.
    """
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        found = "a symbolic link" if stat.S_ISLNK(mode) else "a folder or device"
        raise InvalidDocumentError(str(path), [Problem("", found, "a file, not something that leads to one")])
    # The file may be another one by now: a link is not followed, and a pipe does not block.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:  # noqa: PTH123
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(digest, file.tell())


def describe_files(files: Mapping[str, Path], /) -> dict[str, FileEntry]:
    """The entries of a manifest for local files, by their names in the artifact.

    Raises: InvalidDocumentError, OSError.
    """
    return {name: describe_file(path) for name, path in sorted(files.items())}


def sha256_hex(data: bytes, /) -> str:
    """sha256 in hex digits."""
    return hashlib.sha256(data).hexdigest()
