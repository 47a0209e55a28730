"""Errors of something in front of a pool, in the protocol's form."""

from __future__ import annotations

from typing import Final

from botshard.http1.answers import JSON, Answer, line
from router.heads import POOL, REQUEST_ID, RETRY_AFTER
from router.problems import error_body
from router.upstream import Connection

__all__ = ["MAX_FOREIGN_BYTES", "foreign_answer"]

MAX_FOREIGN_BYTES: Final = 2048
"""So much of such an error is read and shown."""


def foreign_answer(connection: Connection, text: bytes, /, *, pool: str, request_id: bytes) -> Answer:
    """What a client is told; `text` is what has come of the body, all of it or `MAX_FOREIGN_BYTES`."""
    status, retry_after = connection.status, dict(connection.headers).get(RETRY_AFTER)
    if connection.finished and text.lstrip().startswith(b'{"error"'):
        body = text
    else:
        shown = text[:MAX_FOREIGN_BYTES].decode(errors="replace").strip() or "no text"
        body = error_body(f"pool {pool} answered {status}: {shown}")
    lines = JSON + line(REQUEST_ID, request_id) + line(POOL, pool.encode())
    if retry_after is not None:
        lines += line(RETRY_AFTER, retry_after)
    return Answer(status, lines, body)
