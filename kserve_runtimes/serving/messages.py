"""One HTTP exchange in plain values: the request as ASGI gives it, the answer as ASGI takes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from botshard.oip import headers
from botshard.oip.errors import BodyTooLargeError, InvalidInputError
from kserve_runtimes.serving.problems import Problem

__all__ = ["Answer", "DisconnectedError", "Receive", "Request", "Scope", "Send", "error_answer", "json_answer"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")


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
        value = self._headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def number(self, name: str, /) -> float | None:
        """A header that holds a number of at least 0.

        Raises: InvalidInputError.
        """
        text = self.header(name)
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            raise InvalidInputError(None, f"header {name} must be a number of at least 0, found {text[:40]!r}")
        return number

    def timeout_s(self) -> float | None:
        """What the caller says of the seconds that are left.

        Raises: InvalidInputError.
        """
        text = self.header(headers.REQUEST_TIMEOUT)
        if text is None:
            return None
        try:
            timeout_s = float(text)
        except ValueError:
            timeout_s = -1.0
        if not 0 < timeout_s < float("inf"):
            expected = "X-Request-Timeout must be a number of seconds over 0, such as 2.5"
            raise InvalidInputError(None, f"{expected}, found {text[:40]!r}")
        return timeout_s

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
