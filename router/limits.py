"""Bounds of one router process, and the account of bytes that it holds for requests."""

from __future__ import annotations

from dataclasses import dataclass

from botshard.sharding.units import KIBIBYTE, MEBIBYTE

__all__ = ["BodyAccount", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the data path. None of them depends on the number of bots."""

    max_body_bytes: int = 16 * MEBIBYTE
    """Largest request body; a larger one is answered 413."""
    max_held_bytes: int = 256 * MEBIBYTE
    """Request bodies held at once, small ones (`small_body_bytes`) not counted; beyond it 503."""
    stream_over_bytes: int = MEBIBYTE
    """Request bodies up to this size are held whole and may be sent again to another pool. Larger ones are sent on as
    they come."""
    small_body_bytes: int = 64 * KIBIBYTE
    """Bodies up to this size are not worth an account: the number of connections bounds them."""
    max_head_bytes: int = 64 * KIBIBYTE
    """Largest head of a request, and of a pool's answer."""
    half_closed_s: float = 0.5
    """A client that has closed its side may still wait for its answer, or be gone; for so long it is waited."""
    next_request_s: float = 0.25
    """How long a connection without a request is kept once the router is told to stop: its client may have sent one
    that was not read yet, and gets `connection: close` with the answer."""
    answer_buffer_bytes: int = 256 * KIBIBYTE
    """Bytes of one answer that wait for a slow client before the pool's connection is no longer read."""
    max_connections_per_pool: int = 256
    """Connections to one pool; a quarter of what Envoy allows to one upstream by default."""
    max_connections_per_gateway: int = 768
    """Connections to one place, idle ones counted, whatever the number of pools behind it; under Envoy's 1,024."""
    max_waiting_per_pool: int = 1024
    """Requests that wait for one of these connections; beyond it 503."""
    max_cold_waiting_per_pool: int = 256
    """Requests that wait while another one wakes a pool from zero; beyond it 503."""
    connect_timeout_s: float = 3.0
    """One attempt at a connection. A pool at zero does accept: its listening socket is held open for it."""
    idle_connection_s: float = 4.0
    """An unused connection is closed after this time: before the 5 s after which many model servers close it."""
    connection_age_s: float = 10.0
    """A connection is not reused after this time, so that replicas that were added get their share."""


class BodyAccount:
    """Bytes of request bodies held now, against their bound."""

    __slots__ = ("_bound_bytes", "held_bytes")

    def __init__(self, bound_bytes: int) -> None:
        self._bound_bytes = bound_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int, /) -> bool:
        """Whether there was room for `size_bytes` more; if so they are held now."""
        if self.held_bytes + size_bytes > self._bound_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def give(self, size_bytes: int, /) -> None:
        """Bytes that were taken are free again."""
        self.held_bytes -= size_bytes
