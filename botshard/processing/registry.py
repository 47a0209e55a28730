"""All steps by name: every module in `steps/` that does not begin with `_` gives one."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from botshard.processing import steps
from botshard.processing.step import Phase, Step
from botshard.sharding.errors import CallerError

__all__ = ["all_steps", "step_names"]


@functools.cache
def all_steps() -> Mapping[str, Step[Any]]:
    """`{name: step}`, sorted by name. Raises: CallerError when two files claim one name."""
    found: dict[str, Step[Any]] = {}
    for module_info in pkgutil.iter_modules(steps.__path__):
        if module_info.name.startswith("_"):
            continue
        step = importlib.import_module(f"{steps.__name__}.{module_info.name}").STEP
        if step.name in found:
            raise CallerError(f"two steps are named {step.name!r}")
        found[step.name] = step
    return MappingProxyType(dict(sorted(found.items())))


def step_names(phase: Phase) -> list[str]:
    """The names of the steps of one phase, sorted."""
    return [step.name for step in all_steps().values() if step.phase is phase]
