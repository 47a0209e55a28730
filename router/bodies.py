"""A request's body, read whole before it is forwarded, within bounds.

Read whole, so that every request can be tried again at another pool or on a fresh connection, and so that a client
that sends slowly never occupies a replica. The price is memory: the largest body times the requests that bring one,
which an account bounds; small bodies, which nearly all are, pass in one piece and uncounted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Self

from router.errors import BodyTooLargeError, ClientGoneError, OverloadedError
from router.limits import BodyAccount, Limits

__all__ = ["RequestBody"]

_DRAINABLE_FACTOR: Final = 4  # a body up to so many times the limit is read away, so that its sender sees the 413


class RequestBody:
    """The body of one request; `release` it when no try can follow any more."""

    __slots__ = ("_account", "_limits", "_taken_bytes", "data")

    def __init__(self, limits: Limits, account: BodyAccount) -> None:
        self._limits = limits
        self._account = account
        self._taken_bytes = 0
        self.data = b""

    async def read(
        self,
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        announced_bytes: int | None,
    ) -> Self:
        """Read to the end. `announced_bytes`: the content-length, None where the client gave none.

        Raises: BodyTooLargeError, OverloadedError, ClientGoneError.
        """
        if announced_bytes is not None:
            self._check(announced_bytes)
            if announced_bytes > self._limits.small_body_bytes:
                self._take(announced_bytes)
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.data = message.get("body", b"")
            return self
        pieces: list[bytes] = []
        size_bytes = 0
        while message["type"] == "http.request":
            piece = message.get("body", b"")
            size_bytes += len(piece)
            self._check(size_bytes)
            if announced_bytes is None and size_bytes > self._limits.small_body_bytes:
                self._take(size_bytes - self._taken_bytes)
            pieces.append(piece)
            if not message.get("more_body", False):
                self.data = b"".join(pieces)
                return self
            message = await receive()
        raise ClientGoneError("the client closed its connection before its request was whole")

    def release(self) -> None:
        """Forget the body."""
        self.data = b""
        if self._taken_bytes:
            self._account.give(self._taken_bytes)
            self._taken_bytes = 0

    def _check(self, size_bytes: int) -> None:
        limit_bytes = self._limits.max_body_bytes
        if size_bytes > limit_bytes:
            raise BodyTooLargeError(
                f"the body is larger than {limit_bytes} bytes",
                limit_bytes=limit_bytes,
                drainable=size_bytes <= _DRAINABLE_FACTOR * limit_bytes,
            )

    def _take(self, size_bytes: int) -> None:
        if not self._account.take(size_bytes):
            raise OverloadedError("the router holds as many request bodies as it may", retry_after_s=1)
        self._taken_bytes += size_bytes
