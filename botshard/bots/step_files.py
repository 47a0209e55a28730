"""The files that a bot's steps name (labels, vocabularies): found inside the folder only, and remembered."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from botshard.bots.limits import Limits
from botshard.bots.model_files import path_problem

__all__ = ["StepFiles"]


class StepFiles:
    """The folder's files as `botshard.processing.check_steps` asks for them; what it reads becomes part of the bot."""

    def __init__(self, folder: Path, limits: Limits, /) -> None:
        self._folder = folder
        self._limits = limits
        self.used: set[Path] = set()
        """Every file that was read, relative to the folder."""

    def __contains__(self, name: object) -> bool:
        """Is `name` a plain file in the folder, reached without links, `..` and hidden parts?"""
        if not isinstance(name, str) or not name or "\0" in name or "\\" in name or str(PurePosixPath(name)) != name:
            return False
        if any(part.startswith((".", "/")) for part in PurePosixPath(name).parts):
            return False
        path = self._folder / name
        return path_problem(self._folder, path) is None and path.stat().st_size <= self._limits.artifact_bytes

    def read(self, name: str, /) -> bytes:
        """Contents of a file that is in the folder."""
        self.used.add(Path(name))
        return (self._folder / name).read_bytes()
