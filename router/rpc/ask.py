"""Which request to a pool a call of a client is: the table from the methods that go to bots. Pure.

A pool has one address, and serves the protocol's REST there. `ModelInfer` goes there as the message that it is, the
few and small calls besides as what REST has for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

import orjson

from botshard.oip.grpc_schema import DecodeError, message_class, model_of
from botshard.oip.headers import MESSAGE
from router.errors import BadRequestError, InvalidAnswerError, UnknownBotError
from router.rpc.names import read_names
from router.targets import Target

__all__ = ["METHODS", "Ask", "Make"]

Read: TypeAlias = Callable[[int, bytes, bytes], bytes | None]
"""(status, content type, body) of an answer of a pool -> the message; None: it is an error as it says."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+")
_OK: Final = 200
_UNAVAILABLE: Final = 503
_JSON: Final = b"application/json"
_MESSAGE: Final = MESSAGE.encode()
_MAX_NAME_CHARS: Final = 512
_ANSWERS: Final = {
    name: message_class(f"{name}Response")
    for name in ("ModelReady", "ModelMetadata", "RepositoryModelLoad", "RepositoryModelUnload")
}


class Ask(NamedTuple):
    """A request to the pool of a bot."""

    target: Target
    method: bytes
    path: bytes
    content_type: bytes
    """Empty: there is no body."""
    body: bytes
    read: Read


Make: TypeAlias = Callable[[bytes], Ask]
"""A message of a client as a request to a pool. Raises: BadRequestError, UnknownBotError."""


def _infer(message: bytes) -> Ask:
    model, version, _ = read_names(message)
    target, path = _target(model, version)
    return Ask(target, b"POST", b"%b/infer" % path, _MESSAGE, message, _message)


def _ready(message: bytes) -> Ask:
    request = _parse("ModelReadyRequest", message)
    target, path = _target(request.name, request.version)
    return Ask(target, b"GET", path + b"/ready", b"", b"", _read_ready)


def _metadata(message: bytes) -> Ask:
    request = _parse("ModelMetadataRequest", message)
    target, path = _target(request.name, request.version)
    return Ask(target, b"GET", path, b"", b"", _read_metadata)


def _repository(name: str, action: str, done: str) -> Make:
    def make(message: bytes) -> Ask:
        bot = model_of(_parse(f"{name}Request", message))
        target, _ = _target(bot, "")
        path = f"/v2/repository/models/{quote(bot, safe='')}/{action}".encode()

        def read(status: int, _: bytes, __: bytes) -> bytes | None:
            return _ANSWERS[name](**{"model_name": bot, done: True}).SerializeToString() if status == _OK else None

        return Ask(target, b"POST", path, b"", b"", read)

    return make


METHODS: Final[Mapping[str, Make]] = {
    "ModelInfer": _infer,
    "ModelReady": _ready,
    "ModelMetadata": _metadata,
    "RepositoryModelLoad": _repository("RepositoryModelLoad", "load", "isLoaded"),
    "RepositoryModelUnload": _repository("RepositoryModelUnload", "unload", "isUnloaded"),
}


def _target(bot: str, version: str) -> tuple[Target, bytes]:
    """The bot, and the path that everything about it begins with."""
    if not bot:
        raise BadRequestError("the message names no model")
    if "/" in bot or len(bot) > _MAX_NAME_CHARS:
        raise UnknownBotError.of(bot)
    name = bot if _PLAIN.fullmatch(bot) else quote(bot, safe="")
    if not version:
        return Target(bot, False), b"/v2/models/" + name.encode()
    if not _PLAIN.fullmatch(version) or version.startswith("."):
        raise BadRequestError(f"a version is a number, found {version[:40]!r}")
    return Target(bot, True), f"/v2/models/{name}/versions/{version}".encode()


def _parse(name: str, message: bytes) -> Any:
    try:
        return message_class(name).FromString(message)
    except DecodeError as error:
        raise BadRequestError(f"the message is not a {name}") from error


def _message(status: int, content_type: bytes, body: bytes) -> bytes | None:
    if status != _OK:
        return None
    if content_type != _MESSAGE:
        found = content_type[:60].decode("latin-1")
        raise InvalidAnswerError(f"the pool does not take gRPC's messages: its answer is of type {found!r}")
    return body


def _read_ready(status: int, content_type: bytes, body: bytes) -> bytes | None:
    if status == _UNAVAILABLE:
        is_ready = False  # the pool's own word: what is in front of one says so otherwise, and was asked again
    elif status != _OK:
        return None
    else:
        is_ready = _document(content_type, body).get("ready") is True
    message: bytes = _ANSWERS["ModelReady"](ready=is_ready).SerializeToString()
    return message


def _read_metadata(status: int, content_type: bytes, body: bytes) -> bytes | None:
    if status != _OK:
        return None
    document = _document(content_type, body)
    known = {name: document[name] for name in ("name", "versions", "platform") if document.get(name) is not None}
    for name in ("inputs", "outputs"):
        tensors = document.get(name) or []
        known[name] = [{key: tensor[key] for key in ("name", "datatype", "shape")} for tensor in tensors]
    message: bytes = _ANSWERS["ModelMetadata"](**known).SerializeToString()
    return message


def _document(content_type: bytes, body: bytes) -> dict[str, Any]:
    document = orjson.loads(body) if content_type.startswith(_JSON) else None
    if not isinstance(document, dict):
        raise InvalidAnswerError("the pool's answer is not the JSON of the protocol")
    return document
