"""`botshard version`."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import botshard
from botshard.cli.options import AsJson
from botshard.cli.output import print_document

__all__ = ["version"]


@dataclass(frozen=True, slots=True)
class About:
    """What runs here."""

    version: str
    python: str
    system: str


def version(*, as_json: AsJson = False) -> None:
    """Print the version of botshard.

    Examples:
      botshard version

      botshard version --json
    """
    about = About(botshard.__version__, platform.python_version(), f"{platform.system()} {platform.machine()}")
    if as_json:
        print_document(about)
        return
    print(f"botshard {about.version} (Python {about.python}, {about.system})")
