"""Requests that are looked at once all of their body is here."""

from __future__ import annotations

from botshard.http1.exchange import Exchange

__all__ = ["WholeBody"]


class WholeBody(Exchange):
    """Keeps the body; a small one, which comes in one piece, is not copied."""

    __slots__ = ("_parts", "body")

    def __init__(self) -> None:
        super().__init__()
        self.body: bytes | memoryview = b""
        """All of it once `complete` was called."""
        self._parts: list[bytes] | None = None

    def take(self, data: bytes, /) -> None:
        """Keep a piece of the body."""
        if self._parts is not None:
            self._parts.append(data)
        elif self.body:
            self._parts = [bytes(self.body), data]
        else:
            self.body = data

    def complete(self) -> None:
        """Join the pieces."""
        if self._parts is not None:
            self.body = b"".join(self._parts)
            self._parts = None

    def forget_body(self) -> None:
        """Nobody needs it any more."""
        self.body = b""
        self._parts = None
