"""The form of a step. A file in `steps/` ends with `STEP = Step(...)`; the registry finds it there.

A step is compiled in a `Scope` (what the declaration around it says) and returns what is done to each `Frame` (a
batch). Compiling is also the check: whatever is wrong goes to the scope, which gives stand-ins, so that one pass finds
every problem and what was checked is what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from botshard.processing.frame import Frame
from botshard.processing.parameters import Parameters, Refused, fields_of, read
from botshard.processing.scope import Scope
from botshard.sharding.errors import Problem

__all__ = ["Apply", "Parameters", "Phase", "Step", "closest", "read_parameters"]

Apply = Callable[[Frame], None]
"""What a compiled step does to a batch, in place."""


class Phase(StrEnum):
    """Where a step may stand; the value is the field of `bot.yaml`."""

    PRE = "preprocess"
    POST = "postprocess"


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True, slots=True)
class Step(Generic[P]):
    """A kind of step."""

    name: str
    phase: Phase
    parameters: type[P]
    compile: Callable[[P, Scope], Apply]


def read_parameters(step: Step[P], entry: Mapping[str, Any], field: str) -> tuple[P | None, list[Problem]]:
    """The parameters of a declared step, or everything that is wrong with them."""
    values = {name: value for name, value in entry.items() if name != "step"}
    parameters, refused = read(step.parameters, values)
    return cast(P | None, parameters), [_problem(step, field, each) for each in refused]


def closest(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?` where one of `names` is close, else nothing."""
    found = get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _problem(step: Step[Any], field: str, refused: Refused) -> Problem:
    path = field + refused.path
    name = refused.path.removeprefix(".")
    match refused.kind:
        case "missing":
            return Problem.of(path, None, f"there: {step.name} needs {name}")
        case "unknown":
            known = list(fields_of(step.parameters))
            expected = f"left out: {step.name} takes {', '.join(known)}{closest(name, known)}"
            return Problem.of(path, refused.found, expected)
        case _:
            return Problem.of(path, refused.found, refused.expected)
