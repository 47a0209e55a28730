"""YAML as a person means it: the scalars of YAML 1.2, no key twice, no bombs.

PyYAML reads YAML 1.1, where `no` is false, `1:30` is ninety and `2024-01-01` is a date: a label list `[yes, no]` would
silently become two booleans. Here `true` and `false` are the only booleans and the only other scalars that are not
text are whole numbers, decimals and `null` (YAML 1.2's core schema, https://yaml.org/spec/1.2.2/#103-core-schema).
Anchors, aliases and `<<` work; tags do not, so that nothing but plain values can be built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from typing import TYPE_CHECKING

import yaml

from botshard.sharding.errors import InvalidDocumentError, Problem

if TYPE_CHECKING:
    from yaml import SafeLoader as _BaseLoader
else:
    _BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser, 10 times faster, where it is built

__all__ = ["read_yaml"]

_MOST_DEPTH = 32
"""Far deeper than any file of ours; keeps self-referring anchors and deep brackets from exhausting the stack."""
_MOST_NODES = 200_000
"""Values after aliases are expanded: a vocabulary of 100,000 words fits, a bomb of aliases does not."""

_TOO_DEEP = Problem("", "more levels", f"nested at most {_MOST_DEPTH} deep")


class _StrictLoader(_BaseLoader):
    """The safe loader with its own scalars, refusing keys that stand twice or are not text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's way to keep the 1.1 scalars of the base class out

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Pairs of a mapping, after `<<` is merged into it."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            where = f"line {key_node.start_mark.line + 1}"
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                raise _RefusedYamlError(Problem(where, f"the key {key_node.value!r}", "text: put the key in quotes"))
            if key_node.value in seen:
                raise _RefusedYamlError(
                    Problem(where, f"the key {key_node.value!r} twice", "a key that is not there yet")
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


class _RefusedYamlError(Exception):
    """Carries a problem out of PyYAML's recursion; never leaves this module."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _construct_int(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 0 if text[:2] in ("0x", "0o") else 10)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def read_yaml(data: bytes, document: str, /) -> object:
    """The one document in `data`; `document` names it in errors.

    Raises: InvalidDocumentError with the line of what is wrong.
    """
    try:
        text = data.decode("utf-8")
        _refuse_tags_and_depth(text, document)
        value: object = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError as error:
        raise InvalidDocumentError(
            document, [Problem("", f"byte {error.start} that is not", "text in UTF-8")]
        ) from error
    except _RefusedYamlError as error:
        raise InvalidDocumentError(document, [error.problem]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = Problem(where, (error.problem or "something else").removeprefix("found "), "plain YAML")
        raise InvalidDocumentError(document, [problem]) from error
    except yaml.YAMLError as error:
        raise InvalidDocumentError(document, [Problem("", str(error).replace("\n", " "), "plain YAML")]) from error
    except (RecursionError, ValueError) as error:
        raise InvalidDocumentError(document, [Problem("", str(error), "plain YAML, not nested deeply")]) from error
    _refuse_what_json_cannot_hold(value, document)
    return value


def _refuse_tags_and_depth(text: str, document: str) -> None:
    """Count levels over the flat stream of events: libyaml's composer recurses in C and would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_StrictLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MOST_DEPTH:
            raise InvalidDocumentError(document, [_TOO_DEEP])
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            where = f"line {event.start_mark.line + 1}" if event.start_mark else ""
            raise InvalidDocumentError(document, [Problem(where, f"the tag {tag}", "a plain value without a tag")])


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which an escape can spell
        return False
    return True


def _refuse_what_json_cannot_hold(value: object, document: str) -> None:
    """Walk as a reader would, aliases expanded: bombs, cycles, and values that a manifest (JSON) has no form for."""
    level: list[object] = [value]
    count = 0
    for _ in range(_MOST_DEPTH):
        count += len(level)
        if count > _MOST_NODES:
            raise InvalidDocumentError(
                document, [Problem("", "more", f"at most {_MOST_NODES} values, aliases expanded")]
            )
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif (isinstance(item, float) and not math.isfinite(item)) or (
                isinstance(item, str) and not _is_utf8(item)
            ):
                raise InvalidDocumentError(document, [Problem.of("", item, "text in UTF-8 and finite numbers")])
            if len(below) > _MOST_NODES:
                break
        if not below:
            return
        level = below
    raise InvalidDocumentError(document, [_TOO_DEEP])
