"""What is in this replica's disk tier, for its siblings: contents and manifests by their sha256, and nothing else.

Whoever reaches the port may ask, so a digest is what opens a content: it stands in the catalog and in manifests, which
only those can read who can read the store, and cannot be guessed. Whoever has a content already can find out whether it
is here.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import BinaryIO, Final

from botshard.http1.asgi import Send
from botshard.store.artifact_cache import ArtifactCache
from kserve_runtimes.serving.messages import Answer, Headers, json_answer

__all__ = ["ArtifactShare"]

_MOST_AT_ONCE: Final = 8
"""Siblings come in numbers when a pool grows; requests of clients have the same loop and the same network."""
_PIECE_BYTES: Final = 256 << 10
_BINARY: Final = (b"content-type", b"application/octet-stream")
_RETRY: Final = (b"retry-after", b"1")


class ArtifactShare:
    """Gives contents to siblings, a few at a time. Lives on the event loop; files are read in threads."""

    def __init__(self, cache: ArtifactCache) -> None:
        self._cache = cache
        self.under_way = 0
        """Contents that are being sent."""

    async def content(self, digest: str, /) -> Answer:
        """The blob or manifest with this sha256: 200, 404 where it is not here, 503 where others are being served."""
        if self.under_way >= _MOST_AT_ONCE:
            busy = json_answer({"error": "as many contents as may be are being sent; ask again"}, status=503)
            busy.headers.append(_RETRY)
            return busy
        self.under_way += 1
        try:
            file = await asyncio.to_thread(self._cache.open_content, digest)
        except BaseException:
            self.under_way -= 1
            raise
        if file is None:
            self.under_way -= 1
            return json_answer({"error": f"there is no content {digest[:64]!r} here"}, status=404)
        return _Content(200, headers=[_BINARY], share=self, file=file)


@dataclass(slots=True, kw_only=True)
class _Content(Answer):
    """An open file on its way."""

    share: ArtifactShare
    file: BinaryIO

    async def send(self, send: Send, extra: Headers, /) -> None:
        """Send it piece by piece, each when the one before has been taken."""
        try:
            left_bytes = os.fstat(self.file.fileno()).st_size
            found = [*self.headers, (b"content-length", str(left_bytes).encode()), *extra]
            await send({"type": "http.response.start", "status": self.status, "headers": found})
            while True:
                piece = await asyncio.to_thread(self.file.read, min(left_bytes, _PIECE_BYTES))
                left_bytes -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left_bytes > 0})
                if left_bytes <= 0 or not piece:
                    return
        finally:
            self.share.under_way -= 1
            self.file.close()
