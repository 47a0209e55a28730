"""What a step may be told: classes whose annotations say what is right, read strictly.

A replica reads every bot's steps before it answers for the first time, so this neither generates code nor imports a
library for it: a class is looked at when its step is used first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

__all__ = ["Field", "Parameters", "Reads", "Refused", "fields_of", "parameter", "read"]

_REQUIRED: Final = object()
_TEXT: Final = "text (numbers and words like yes need quotes)"


class Refused(NamedTuple):
    """One thing that is wrong."""

    path: str
    """Below the step: `.words`, `.idf[3]`; empty: the whole."""
    found: object
    expected: str
    """The end of "must be …"; empty for what is missing or unknown."""
    kind: Literal["wrong", "missing", "unknown"] = "wrong"


class _WrongError(Exception):
    """A value that is not what its annotation says."""

    def __init__(self, *refused: Refused) -> None:
        super().__init__()
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Reads:
    """In `Annotated[T, Reads(function)]`: the function gives a T for what is declared, or raises ValueError."""

    function: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter, beyond its type."""

    default: Any = _REQUIRED
    alias: str = ""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    shortest: int = 0
    longest: int | None = None


def parameter(
    *,
    default: Any = _REQUIRED,
    alias: str = "",
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    shortest: int = 0,
    longest: int | None = None,
) -> Any:
    """A parameter with bounds.

    Args:
        default: what it is where it is left out; without, it must be there.
        alias: its name where the one in the class would be a keyword.
        at_least: bound of a number.
        above: bound of a number that may not be reached.
        at_most: bound of a number.
        shortest: characters of a text.
        longest: characters of a text.
    """
    return Field(default, alias, at_least, above, at_most, shortest, longest)


class _Read(NamedTuple):
    name: str
    alias: str
    field: Field
    reader: Callable[[Any, str], Any]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(parameter,))
class Parameters:
    """Base of every step's parameters: unknown keys are refused, nothing is converted, names are camelCase."""

    _readers: ClassVar[tuple[_Read, ...] | None] = None
    """Made when the class is used first."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def check(self) -> None:
        """What no single parameter shows. Raises: ValueError that says what the whole must be."""


P = type[Parameters]


def fields_of(parameters: P, /) -> Mapping[str, Field]:
    """The parameters by their names in the declaration, in the order of the class."""
    return {read.alias: read.field for read in _readers(parameters)}


def read(parameters: P, values: Mapping[str, Any], /) -> tuple[Parameters | None, list[Refused]]:
    """The parameters that `values` declare, or everything that is wrong with them."""
    found: dict[str, Any] = {}
    refused: list[Refused] = []
    known = set()
    for name, alias, field, reader in _readers(parameters):
        known.add(alias)
        if alias not in values:
            found[name] = field.default
            if field.default is _REQUIRED:
                refused.append(Refused(f".{alias}", values, "", "missing"))
            continue
        try:
            found[name] = reader(values[alias], f".{alias}")
        except _WrongError as error:
            refused += error.refused
    refused += [Refused(f".{name}", values[name], "", "unknown") for name in values if name not in known]
    if refused:
        return None, refused
    result = parameters(**found)
    try:
        result.check()
    except ValueError as error:
        return None, [Refused("", values, str(error))]
    return result, []


# ── from annotations to functions ─────────────────────────────────────────────────────────────────────────────────────


def _readers(parameters: P) -> tuple[_Read, ...]:
    known = parameters.__dict__.get("_readers")
    if known is None:
        known = tuple(_read_class(parameters))
        parameters._readers = known  # noqa: SLF001 - a class of ours
    return known


def _read_class(parameters: P) -> Iterator[_Read]:
    for name, hint in get_type_hints(parameters, include_extras=True).items():
        if name.startswith("_"):
            continue
        given = getattr(parameters, name, _REQUIRED)
        field = given if isinstance(given, Field) else Field(given)
        first, *rest = name.split("_")
        alias = field.alias or first + "".join(part.title() for part in rest)
        yield _Read(name, alias, field, partial(_bounded, _reader(hint), field))


def _bounded(reader: Callable[[Any, str], Any], field: Field, value: Any, path: str) -> Any:
    result = reader(value, path)
    if isinstance(result, int | float):
        if field.at_least is not None and result < field.at_least:
            raise _wrong(path, value, f"greater than or equal to {field.at_least}")
        if field.above is not None and not result > field.above:
            raise _wrong(path, value, f"greater than {field.above}")
        if field.at_most is not None and result > field.at_most:
            raise _wrong(path, value, f"less than or equal to {field.at_most}")
    elif isinstance(result, str):
        if len(result) < field.shortest:
            raise _wrong(path, value, f"text of at least {field.shortest} characters")
        if field.longest is not None and len(result) > field.longest:
            raise _wrong(path, value, f"text of at most {field.longest} characters")
    return result


def _reader(hint: Any) -> Callable[[Any, str], Any]:
    plain = _PLAIN.get(hint)
    if plain is not None:
        return plain
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return partial(_read_by, next(each.function for each in arguments[1:] if isinstance(each, Reads)))
    if origin is Literal:
        return partial(_read_choice, arguments)
    if origin in (Union, UnionType):
        others = [_reader(argument) for argument in arguments if argument is not NoneType]
        return partial(_read_union, others, NoneType in arguments)
    if origin is tuple and arguments[1:] == (...,):
        return partial(_read_list, _reader(arguments[0]))
    raise TypeError(f"no parameter can be of type {hint!r}")


def _wrong(path: str, found: object, expected: str) -> _WrongError:
    return _WrongError(Refused(path, found, expected))


def _read_int(value: Any, path: str) -> int:
    if type(value) is not int:
        raise _wrong(path, value, "a whole number")
    return value


def _read_float(value: Any, path: str) -> float:
    if type(value) not in (int, float):
        raise _wrong(path, value, "a number")
    try:
        number = float(value)
    except OverflowError:
        raise _wrong(path, value, "a finite number") from None
    if not isfinite(number):
        raise _wrong(path, value, "a finite number")
    return number


def _read_str(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, value, _TEXT)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _wrong(path, value, "text that is valid Unicode") from None
    return value


def _read_bool(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, value, "true or false")
    return value


_PLAIN: Final[Mapping[Any, Callable[[Any, str], Any]]] = {
    int: _read_int,
    float: _read_float,
    str: _read_str,
    bool: _read_bool,
}


def _read_by(function: Callable[[Any], Any], value: Any, path: str) -> Any:
    try:
        return function(value)
    except ValueError as error:
        raise _wrong(path, value, str(error)) from error


def _read_choice(options: Sequence[str], value: Any, path: str) -> str:
    if not isinstance(value, str) or value not in options:
        *most, last = map(repr, options)
        raise _wrong(path, value, f"{', '.join(most)} or {last}")
    return value


def _read_union(readers: Sequence[Callable[[Any, str], Any]], may_be_null: bool, value: Any, path: str) -> Any:  # noqa: FBT001
    if value is None and may_be_null:
        return None
    expected = []
    for reader in readers:
        try:
            return reader(value, path)
        except _WrongError as error:
            if len(readers) == 1:
                raise
            expected += [refused.expected for refused in error.refused]
    raise _wrong(path, value, " or ".join(expected))


def _read_list(reader: Callable[[Any, str], Any], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(path, value, "a list")
    found: list[Any] = []
    refused: list[Refused] = []
    for index, item in enumerate(value):
        try:
            found.append(reader(item, f"{path}[{index}]"))
        except _WrongError as error:
            refused += error.refused
    if refused:
        raise _WrongError(*refused)
    return tuple(found)
