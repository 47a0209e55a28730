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

__all__ = ["all_steps", "find_step", "step_names"]


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


@functools.lru_cache(maxsize=256)
def find_step(name: str, /) -> Step[Any] | None:
    """The step of that name; None: there is none. Other steps' modules are not imported where that can be spared."""
    module = name.replace("-", "_")
    if not module.isidentifier() or module.startswith("_"):
        return None
    try:
        step: Step[Any] = importlib.import_module(f"{steps.__name__}.{module}").STEP
    except ModuleNotFoundError as error:
        if error.name != f"{steps.__name__}.{module}":
            raise
        return all_steps().get(name)
    return step if step.name == name else all_steps().get(name)


def step_names(phase: Phase) -> list[str]:
    """The names of the steps of one phase, sorted."""
    return [step.name for step in all_steps().values() if step.phase is phase]
