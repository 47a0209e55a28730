"""Prints what pyproject.toml asks for, one requirement a line: the extras named as arguments, and the dev group.

The environment holds dependencies only, so that several checkouts may share one (`VENV=…`).
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def requirements(document: dict[str, object], extras: list[str]) -> list[str]:
    """Requirements of the project, of `extras` (and of the extras that they name), and of the dev group.

    Raises: SystemExit for an extra that there is not.
    """
    project = document["project"]
    groups = document["dependency-groups"]
    assert isinstance(project, dict)
    assert isinstance(groups, dict)
    found: dict[str, None] = dict.fromkeys(project["dependencies"])
    known = project["optional-dependencies"]
    pending = list(extras)
    while pending:
        extra = pending.pop()
        if extra not in known:
            raise SystemExit(f"pyproject.toml has no extra {extra!r}; it has {', '.join(sorted(known))}")
        for requirement in known[extra]:
            own = re.fullmatch(r"botshard\[(.+)\]", requirement)
            if own is not None:
                pending += [name.strip() for name in own[1].split(",")]
            else:
                found[requirement] = None
    found.update(dict.fromkeys(groups["dev"]))
    return list(found)


if __name__ == "__main__":
    pyproject = Path(__file__).resolve().parent.parent / "pyproject.toml"
    sys.stdout.write("\n".join(requirements(tomllib.loads(pyproject.read_text()), sys.argv[1:])) + "\n")
