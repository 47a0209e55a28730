"""Pool groups as files that may change while the controller runs. A bad file is refused whole, the last good stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from botshard.pool_groups import read_pool_groups
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import GroupName

__all__ = ["GroupFiles"]


class GroupFiles:
    """The groups in some files and folders."""

    def __init__(self, paths: tuple[Path, ...], /) -> None:
        self._paths = paths
        self._seen: object = None
        self.groups: Mapping[GroupName, PoolGroupSpec] = {}
        """In force."""
        self.problem: str | None = None
        """Why what the files hold now was refused; None where it is in force."""

    def refresh(self) -> bool:
        """Read the files again where they have changed; True where the groups in force changed."""
        seen = self._signature()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            groups = {group.name: group for group in read_pool_groups(self._paths)}
        except InvalidDocumentError as error:
            self.problem = str(error)
            return False
        self.problem = None
        changed = groups != self.groups
        self.groups = groups
        return changed

    def _signature(self) -> object:
        """Changes whenever a file was written, came or went."""
        files = [file for path in self._paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        signature = []
        for file in files:
            try:
                stat = file.stat()
            except OSError:
                signature.append((str(file), 0, 0))
            else:
                signature.append((str(file), stat.st_mtime_ns, stat.st_size))
        return signature
