"""Opening a zip that a stranger made, so that what is checked is what the framework will read.

Two readers of one zip can disagree: a name that stands twice or twice in other case, a second directory behind the
first, bytes before it. Such an archive is refused rather than interpreted.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

from botshard.bots.limits import Limits
from botshard.bots.refusals import RefusedFileError
from botshard.sharding.units import format_bytes

__all__ = ["read_archive"]

_LOCAL_HEADER = b"PK\x03\x04"
_END_OF_DIRECTORY = b"PK\x05\x06"
_END_BYTES = 22  # of an end-of-directory record without a comment, the last thing in the file
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def read_archive(source: Path | bytes, what: str, limits: Limits, /) -> dict[str, bytes]:
    """Contents of every file in the zip by name, folders left out; `what` names the wanted kind in errors.

    Raises: RefusedFileError.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    if not data.startswith(_LOCAL_HEADER):
        raise RefusedFileError("no zip archive", what)
    if data[-_END_BYTES:][:4] != _END_OF_DIRECTORY:
        raise RefusedFileError("a zip archive with a comment or bytes after its end", what)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_entries(entries, what, limits)
            return {entry.filename: _read(archive, entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise RefusedFileError(f"a damaged zip archive ({error})", what) from error


def _check_entries(entries: list[zipfile.ZipInfo], what: str, limits: Limits) -> None:
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        parts = name.split("/")
        if not name.isprintable() or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
            raise RefusedFileError(f"an archive with the name {name!r}", f"{what} with plain relative names")
        if name.lower() in seen:
            raise RefusedFileError(f"an archive with {name!r} twice", f"{what} that holds each name once")
        seen.add(name.lower())
        if entry.compress_type not in _METHODS or entry.flag_bits & 1:
            raise RefusedFileError(f"{name!r} packed in a way of its own", f"{what}, stored or deflated, not encrypted")
    total_bytes = sum(entry.file_size for entry in entries)
    if total_bytes > limits.artifact_bytes or len(entries) > limits.artifact_files:
        most = f"at most {format_bytes(limits.artifact_bytes)} in {limits.artifact_files} files, unpacked"
        raise RefusedFileError(f"{format_bytes(total_bytes)} in {len(entries)} files, unpacked", f"{what} of {most}")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)  # the stated size bounds a bomb that states a small one
    if len(data) != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.filename!r} is not of the size that it states")
    return data
