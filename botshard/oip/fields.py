"""Reading fields of JSON documents that strangers sent: each reader gives the value or names what is wrong.

Messages tell the kind of a wrong value, not the value: it may be large, or a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from botshard.oip.errors import InvalidInputError

__all__ = [
    "UNSUPPORTED_PARAMETERS",
    "flag",
    "json_object",
    "kind_of",
    "named",
    "optional_text",
    "parameters_of",
    "shortened",
    "split_body",
]

UNSUPPORTED_PARAMETERS: Final = ("shared_memory_region", "classification")
"""Parameters of tensors that ask for what is not offered; all others are ignored, as the protocol asks."""
_SHOWN_CHARS: Final = 60


def split_body(body: bytes | memoryview, header_length: int | None) -> tuple[memoryview, memoryview | None]:
    """The JSON part and what follows it; None: the whole body is JSON."""
    view = memoryview(body)
    if header_length is None:
        return view, None
    if not 0 < header_length <= len(view):
        raise InvalidInputError(
            None, f"Inference-Header-Content-Length is {header_length}, but the body has {len(view)} bytes"
        )
    return view[:header_length], view[header_length:]


def json_object(head: bytes | memoryview) -> dict[str, Any]:
    """A JSON document whose top level is an object."""
    try:
        document = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(None, f"the body is not JSON: {error}") from error
    if type(document) is not dict:
        raise InvalidInputError(None, f"the body must be a JSON object, found {kind_of(document)}")
    return document


def parameters_of(entry: dict[str, Any], tensor: str | None, *, kind: str = "input") -> dict[str, Any]:
    """The field `parameters`, empty where absent; those that ask for what is not offered are refused."""
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise InvalidInputError(tensor, f"parameters must be an object, found {kind_of(parameters)}", kind=kind)
    for name in UNSUPPORTED_PARAMETERS:
        if name in parameters:
            raise InvalidInputError(tensor, f"parameters.{name} is not supported", kind=kind)
    return parameters


def flag(parameters: Mapping[str, Any], name: str, tensor: str | None) -> bool | None:
    """A parameter that is true, false or absent."""
    value = parameters.get(name)
    if value is None or type(value) is bool:
        return value
    raise InvalidInputError(tensor, f"parameters.{name} must be true or false, found {kind_of(value)}", kind="output")


def optional_text(document: dict[str, Any], name: str) -> str | None:
    """A field that is text or absent."""
    value = document.get(name)
    if value is None or type(value) is str:
        return value
    raise InvalidInputError(None, f"{name} must be text, found {kind_of(value)}")


def kind_of(value: object) -> str:
    """What a JSON value is, as words."""
    kinds = {dict: "an object", list: "an array", str: "text", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), "a number")


def shortened(text: str) -> str:
    """A name as it may stand in a message."""
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def named(names: Iterable[str]) -> str:
    """Names as a list for a message."""
    return ", ".join(sorted(names))
