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
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from botshard.processing.frame import Frame
from botshard.processing.scope import Scope
from botshard.sharding.errors import Problem

__all__ = ["Apply", "Parameters", "Phase", "Step", "closest", "read_parameters"]

Apply = Callable[[Frame], None]
"""What a compiled step does to a batch, in place."""


class Phase(StrEnum):
    """Where a step may stand; the value is the field of `bot.yaml`."""

    PRE = "preprocess"
    POST = "postprocess"


class Parameters(BaseModel):
    """Base of every step's parameters: unknown keys are refused, nothing is converted, names are camelCase."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel)


_PLAIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "int_type": "a whole number",
        "float_type": "a number",
        "string_type": "text (numbers and words like yes need quotes)",
        "bool_type": "true or false",
        "tuple_type": "a list",
    }
)

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
    try:
        return step.parameters.model_validate(values), []
    except ValidationError as error:
        return None, [_problem(step, field, details) for details in error.errors(include_url=False)]


def closest(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?` where one of `names` is close, else nothing."""
    found = get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _problem(step: Step[Any], field: str, details: Any) -> Problem:
    path = field + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"])
    known = [info.alias or name for name, info in step.parameters.model_fields.items()]
    match details["type"]:
        case "missing":
            name = str(details["loc"][-1])
            return Problem.of(path, None, f"there: {step.name} needs {name}")
        case "extra_forbidden":
            name = str(details["loc"][-1])
            expected = f"left out: {step.name} takes {', '.join(known)}{closest(name, known)}"
            return Problem.of(path, details["input"], expected)
        case _:
            expected = _PLAIN.get(details["type"]) or _expected(details["msg"])
            return Problem.of(path, details["input"], expected)


def _expected(message: str) -> str:
    """The end of "must be ..." from a message of pydantic."""
    for start in ("Value error, ", "Input should be ", "Input should "):
        if message.startswith(start):
            return message.removeprefix(start)
    return f"right ({message})"
