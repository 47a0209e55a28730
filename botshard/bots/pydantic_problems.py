"""What pydantic found wrong, as our own `Problem`s: the path as it stands in the file, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from botshard.bots.hints import known_names
from botshard.sharding.errors import Problem

__all__ = ["field_path", "validation_problems"]


def validation_problems(model: type[BaseModel], error: ValidationError, /) -> list[Problem]:
    """One problem for each place in the document, in its order."""
    by_path: dict[str, Problem] = {}
    for entry in error.errors(include_url=False, include_context=False):
        path = _path_in_file(model, entry["loc"])
        kind, found = entry["type"], entry["input"]
        shown = field_path(path)
        if kind == "extra_forbidden":
            problem = Problem(shown, "an unknown key", known_names(path[-1], _keys(_section_at(model, path[:-1]))))
        else:
            problem = Problem.of(shown, None if kind == "missing" else found, _expected(model, path, found))
        by_path.setdefault(shown, problem)  # a union fails once for each of its members
    return list(by_path.values())


def field_path(path: Iterable[str | int], /) -> str:
    """`inputs[0].datatype`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _path_in_file(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """`loc` without what pydantic adds for members of a union (`int`, `constrained-str`)."""
    path: list[int | str] = []
    section: type[BaseModel] | None = model
    for depth, part in enumerate(loc):
        if isinstance(part, int):
            path.append(part)
        elif section is not None:
            path.append(part)
            field = _field(section, part)
            section = _section_of(field.annotation) if field is not None else None
        elif depth == len(loc) - 1 and not path:
            path.append(part)
    return tuple(path)


def _expected(model: type[BaseModel], path: tuple[int | str, ...], found: object) -> str:
    """The description of the field at `path`, or of what one item of its list must be."""
    names = [part for part in path if isinstance(part, str)]
    if not names:
        return "a mapping"
    section = _section_at(model, names[:-1])
    field = _field(section, names[-1]) if section is not None else None
    if field is None:
        return "something else"
    options = field.json_schema_extra.get("enum") if isinstance(field.json_schema_extra, dict) else None
    if isinstance(options, list):
        return known_names(found, map(str, options))
    description = field.description or ""
    return f"an item of {description}" if isinstance(path[-1], int) else description


def _section_at(model: type[BaseModel], path: Iterable[int | str]) -> type[BaseModel] | None:
    section: type[BaseModel] | None = model
    for part in path:
        field = _field(section, part) if section is not None and isinstance(part, str) else None
        if field is not None:
            section = _section_of(field.annotation)
    return section


def _keys(section: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()] if section is not None else []


def _field(section: type[BaseModel], key: str) -> FieldInfo | None:
    for name, field in section.model_fields.items():
        if (field.alias or name) == key:
            return field
    return None


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `list[Model]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _section_of(argument)
        if found is not None:
            return found
    return None
