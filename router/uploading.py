"""A large body on its way from its client to a pool: sent on as it comes, at the pace of the slower of the two.

What had come before it was known to be large is kept and goes out with each try, until bytes beyond it have gone out:
from then on nothing of the request can be sent again. Memory is bounded either way: while the pool does not read, what
comes waits here, and past a bound the client is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from router.upstream import Asker, Connection

__all__ = ["ROOM_BYTES", "Upload"]

_FULL_BYTES: Final = 256 * 1024
"""That wait for the pool before the client is not read any more."""
_READ_BYTES: Final = 256 * 1024
"""Come with one read of a socket, at most."""
ROOM_BYTES: Final = _FULL_BYTES + _READ_BYTES
"""What an upload holds at most besides what it keeps."""


class Upload:
    """See the module. Used by one try at a time."""

    __slots__ = (
        "_connection",
        "_is_chunked",
        "_is_ended",
        "_kept",
        "_on_room",
        "_on_spent",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(
        self, kept: bytes, *, is_chunked: bool, on_room: Callable[[], None], on_spent: Callable[[], None]
    ) -> None:
        """Nothing is sent before `begin`.

        Args:
            kept: what has come of the body so far.
            is_chunked: the client has not said how long the body is, so the pool is not told either.
            on_room: called when bytes were sent on that had waited.
            on_spent: called once, when what was kept is not held any more.
        """
        self._kept: bytes | None = kept
        self._is_chunked = is_chunked
        self._on_room = on_room
        self._on_spent = on_spent
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._is_ended = False
        self._connection: Connection | None = None

    @property
    def is_full(self) -> bool:
        """Whether the client should wait."""
        return self._waiting_bytes > _FULL_BYTES

    @property
    def can_begin(self) -> bool:
        """Whether all that any try was sent is still here."""
        return self._kept is not None

    # ── the client's side ─────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, data: bytes, /) -> None:
        """More of the body has come."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self.flow()

    def end(self) -> None:
        """All of it has come."""
        self._is_ended = True
        self.flow()

    # ── the pool's side ───────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, connection: Connection, head: bytes, asker: Asker, /, *, head_only: bool) -> None:
        """Send the head and what is here; the rest follows.

        Raises: LostError where the connection has ended meanwhile.
        """
        assert self._kept is not None  # noqa: S101 - see `can_begin`
        connection.begin(head, self._framed(self._kept), asker, head_only=head_only)
        connection.source = self
        self._connection = connection
        self.flow()

    def stop(self) -> None:
        """The try is over."""
        self._connection = None

    def flow(self) -> None:
        """Send what can be sent."""
        connection = self._connection
        if connection is None or connection.error is not None:
            return
        if self._waiting and connection.is_writable:
            self._forget_kept()
            connection.send(self._framed(b"".join(self._waiting)))
            self._waiting.clear()
            self._waiting_bytes = 0
            if not self._is_ended:
                self._on_room()
        if self._is_ended and not self._waiting:
            self._connection = connection.source = None
            if self._is_chunked:
                connection.send(b"0\r\n\r\n")

    def _forget_kept(self) -> None:
        if self._kept is not None:
            self._kept = None
            self._on_spent()

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data
