"""Credentials for S3: from the environment that the caller hands in, or from mounted files that may be rotated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from botshard.sharding.errors import Problem
from botshard.store.base import StoreDeniedError
from botshard.store.minio_client import Credentials, Provider, StaticProvider

__all__ = ["MountedProvider", "read_credentials"]

_KEY_ID = "AWS_ACCESS_KEY_ID"
_SECRET = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the variable's name
_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105 - the variable's name


class MountedProvider(Provider):  # type: ignore[misc]  # minio is untyped here
    """Reads both files at each use, so that a rotated secret is taken up without a restart."""

    def __init__(self, key_id_path: Path, secret_path: Path, /) -> None:
        self._paths = (key_id_path, secret_path)

    def retrieve(self) -> Credentials:
        """The credentials in the files now.

        Raises: StoreDeniedError naming the file that cannot be read or is empty.
        """
        values = []
        for path in self._paths:
            try:
                value = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise StoreDeniedError(f"{path}: the mounted credential cannot be read; mount it as text") from error
            if not value:
                raise StoreDeniedError(f"{path}: the mounted credential is empty")
            values.append(value)
        return Credentials(*values)


def read_credentials(environ: Mapping[str, str], problems: list[Problem], /) -> Provider | None:
    """A provider of credentials, or None after adding to `problems` what is missing. Values are never shown."""
    files = [environ.get(f"{name}_FILE") for name in (_KEY_ID, _SECRET)]
    if files[0] and files[1]:
        return MountedProvider(Path(files[0]), Path(files[1]))
    key_id, secret = environ.get(_KEY_ID), environ.get(_SECRET)
    if key_id and secret:
        return StaticProvider(key_id, secret, environ.get(_TOKEN) or None)
    missing = [name for name in (_KEY_ID, _SECRET) if not environ.get(name) and not environ.get(f"{name}_FILE")]
    problems += [
        Problem.of(name, None, f"set in the environment, or {name}_FILE the path of a file with it") for name in missing
    ]
    if not missing:
        expected = "both given as variables, or both as files"
        problems.append(Problem(f"{_KEY_ID}, {_SECRET}", "one as a variable and one as a file", expected))
    return None
