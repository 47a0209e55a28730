"""The body of a request to a bot: held until it is whole, or, if it is large, sent on as it comes.

It is read whole so that it can be sent again to another pool or over a fresh connection, and so that a client that
sends slowly never occupies a replica. The price is memory, which an account bounds; small bodies, which nearly all
are, come in one piece and are not counted. A large one is sent on (`router.uploading`) once more of it is here than is
held whole.
"""

from __future__ import annotations

from botshard.http1.whole import WholeBody
from router.errors import OverloadedError
from router.limits import BodyAccount, Limits
from router.uploading import ROOM_BYTES, Upload

__all__ = ["RequestBody"]


class RequestBody(WholeBody):
    """See the module."""

    __slots__ = ("_account", "_held_bytes", "_limits", "upload")

    def __init__(self, limits: Limits, account: BodyAccount) -> None:
        super().__init__()
        self._limits = limits
        self._account = account
        self._held_bytes = 0
        self.upload: Upload | None = None
        """Sends the body on while it comes; None: it is held."""

    @property
    def is_full(self) -> bool:
        """See `botshard.http1.exchange.Exchange`."""
        return self.upload is not None and self.upload.is_full

    def hold(self, size_bytes: int, /) -> None:
        """Take on what is held of a body of this size.

        Raises: OverloadedError where there is no room for it.
        """
        held_bytes = min(size_bytes, self._limits.stream_over_bytes + ROOM_BYTES)
        if not self._account.take(held_bytes - self._held_bytes):
            raise OverloadedError("the router holds as many request bodies as it may", retry_after_s=1)
        self._held_bytes = held_bytes

    def account_for(self, length: int | None, /) -> bool:
        """More of a body that is not small has come: whether it is sent on from here, for there is too much of it.

        Args:
            length: what its client has said of it.

        Raises: OverloadedError where there is no room for it.
        """
        is_large = self.body_bytes > self._limits.stream_over_bytes and self.body_bytes != length
        if self.body_bytes > self._held_bytes:
            self.hold(self._limits.max_body_bytes if is_large else self.body_bytes)
        if is_large:
            parts, self._parts = self._parts, None
            kept = bytes(self.body) if parts is None else b"".join(parts)
            self.body = b""
            self.upload = Upload(kept, is_chunked=length is None, on_room=self.link.read_on, on_spent=self._spend)
        return is_large

    def _spend(self) -> None:
        """What was kept of a large body is gone."""
        if self._held_bytes > ROOM_BYTES:
            self._account.give(self._held_bytes - ROOM_BYTES)
            self._held_bytes = ROOM_BYTES

    def give_back(self) -> None:
        """Nothing is held any more."""
        self.upload = None
        if self._held_bytes:
            self._account.give(self._held_bytes)
            self._held_bytes = 0
