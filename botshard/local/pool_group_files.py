"""Where the pool groups of a stack are that is given no file of its own."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

__all__ = ["default_group_files"]


def default_group_files() -> tuple[Path, ...]:
    """The file that comes with the package."""
    return (Path(str(importlib.resources.files("botshard.local").joinpath("pool_groups.yaml"))),)
