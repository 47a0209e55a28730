"""Bounds and patience of a server's connections."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take: bytes and seconds."""

    max_body_bytes: int = 16 << 20
    """As sent; more is 413."""
    max_head_bytes: int = 64 << 10
    """Request line and headers, and trailers; more is 431."""
    max_discard_bytes: int = 256 << 10
    """Of a body that nobody wants any more; beyond, the answer is the connection's last."""
    max_queued: int = 16
    """Requests that wait behind the one that is answered, before reading pauses."""
    buffered_body_bytes: int = 64 << 10
    """Of a body that an application has not asked for yet, before reading pauses."""
    buffered_answer_bytes: int = 64 << 10
    """Of answers that the peer has not read yet, before answering pauses."""
    keep_alive_s: float = 75.0
    """An idle connection; longer than clients and gateways keep one, so that the server never closes first."""
    handshake_timeout_s: float = 10.0
    """Of a connection over TLS, before its first request."""
    head_timeout_s: float = 20.0
    """From the first byte of a head to its last; more is 408."""
    body_timeout_s: float = 30.0
    """Between two pieces of a body that an application reads; more is 408. Hot requests have a deadline instead."""
    write_timeout_s: float = 60.0
    """A peer that reads nothing of its answer; also the most that lingering takes."""
    linger_s: float = 2.0
    """After the last byte of a request that was answered early: closing at once could take the answer from the peer."""
    half_closed_s: float = math.inf
    """How long a peer that has closed its side is waited for: whether it is gone shows only when something is sent.
    What it asked for is abandoned then, unless the answer is on its way."""
    next_request_s: float = 0.01
    """How long a connection without a request may take to send one once the server is told to end: what was sent before
    anybody could know of the end is still answered. The default is for what has arrived and was not read yet."""
    first_request_s: float = 0.25
    """How long a connection that was just made may take to send its request once the server is told to end."""
