"""One HTTP exchange in plain values: the request as ASGI gives it, the answer as ASGI takes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import orjson

from botshard.http1.asgi import Message, Receive, Scope, Send
from botshard.oip import headers
from botshard.oip.deadlines import TIMEOUT_FORM, read_timeout
from botshard.oip.errors import BodyTooLargeError, InvalidInputError
from botshard.sharding.ids import Epoch
from kserve_runtimes.core.assignment import NO_EPOCH
from kserve_runtimes.serving.problems import Problem

__all__ = [
    "Answer",
    "DisconnectedError",
    "Fields",
    "Headers",
    "Message",
    "Receive",
    "Request",
    "Scope",
    "Send",
    "epoch_of",
    "error_answer",
    "field_text",
    "json_answer",
    "timeout_of",
    "wrong_method_answer",
]

Fields: TypeAlias = Mapping[bytes, bytes]
Headers: TypeAlias = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_EPOCH: Final = headers.EPOCH.encode()
_TIMEOUT: Final = headers.REQUEST_TIMEOUT.encode()
_MAX_HEADER_EPOCH: Final = 1 << 62


class DisconnectedError(Exception):
    """The client went away before its request was whole."""


@dataclass(slots=True)
class Answer:
    """Status, headers and body."""

    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=list)

    async def send(self, send: Send, extra: Headers, /) -> None:
        """Send it with `extra` headers."""
        length = (b"content-length", str(len(self.body)).encode())
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers, length, *extra]})
        await send({"type": "http.response.body", "body": self.body})


def json_answer(document: object, /, *, status: int = 200) -> Answer:
    """An answer of JSON."""
    return Answer(status, orjson.dumps(document), [_JSON])


def error_answer(problem: Problem, /) -> Answer:
    """An error as the protocol writes it: `{"error": "..."}`."""
    answer = json_answer({"error": problem.text}, status=problem.status)
    if problem.retry_after_s is not None:
        answer.headers.append((b"retry-after", str(problem.retry_after_s).encode()))
    return answer


def wrong_method_answer(method: str, path: str, /, *, allowed: tuple[str, ...]) -> Answer:
    """405, with the methods that there are."""
    text = f"{method} is not a method of {path}; use {' or '.join(allowed)}"
    answer = json_answer({"error": text}, status=405)
    answer.headers.append((b"allow", ", ".join(allowed).encode()))
    return answer


def field_text(fields: Fields, name: bytes, /) -> str | None:
    """A header's value."""
    value = fields.get(name)
    return None if value is None else value.decode("latin-1")


def epoch_of(fields: Fields, /) -> Epoch:
    """The epoch that the router routed by; 0: it did not say.

    Raises: InvalidInputError.
    """
    value = fields.get(_EPOCH)
    if value is None:
        return NO_EPOCH
    number = _number(value)
    if not 0 <= number < math.inf:
        text = value.decode("latin-1")[:40]
        raise InvalidInputError(None, f"header {headers.EPOCH} must be a number of at least 0, found {text!r}")
    return Epoch(int(min(number, _MAX_HEADER_EPOCH)))


def timeout_of(fields: Fields, /) -> float | None:
    """What the caller says of the seconds that are left.

    Raises: InvalidInputError.
    """
    value = fields.get(_TIMEOUT)
    if value is None:
        return None
    timeout_s = read_timeout(value)
    if timeout_s is None:
        raise InvalidInputError(None, f"{TIMEOUT_FORM}, found {value.decode('latin-1')[:40]!r}")
    return timeout_s


def _number(value: bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return -1.0


class Request:
    """What a request's head says, and its body on demand."""

    __slots__ = ("_headers", "_receive", "method", "path")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive = receive

    def header(self, name: str, /) -> str | None:
        """A header's value by its name in lower case; of several with one name, the last."""
        return field_text(self._headers, name.encode())

    def epoch(self) -> Epoch:
        """The epoch that the router routed by. Raises: InvalidInputError."""
        return epoch_of(self._headers)

    def timeout_s(self) -> float | None:
        """What the caller says of the seconds that are left. Raises: InvalidInputError."""
        return timeout_of(self._headers)

    async def body(self, limit_bytes: int, /) -> bytes:
        """The whole body.

        Raises: BodyTooLargeError as soon as it is known to be too large; DisconnectedError.
        """
        declared = self._headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        first: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(first) > limit_bytes:
                raise _too_large(limit_bytes)
            return first
        parts = [first]
        left_bytes = limit_bytes - len(first)
        while message.get("more_body"):
            if left_bytes < 0:
                raise _too_large(limit_bytes)
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise DisconnectedError
            part: bytes = message.get("body", b"")
            left_bytes -= len(part)
            parts.append(part)
        if left_bytes < 0:
            raise _too_large(limit_bytes)
        return b"".join(parts)


def _too_large(limit_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is larger than {limit_bytes} bytes", limit_bytes=limit_bytes)
