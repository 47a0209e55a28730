"""A request, whatever it came over, as what is counted and told of it at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from router.pools import PoolState
    from router.telemetry.ledger import ColdStart
    from router.telemetry.telemetry import Look

__all__ = ["EndedRequest"]


class _Link(Protocol):
    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        ...

    @property
    def peer(self) -> tuple[str, int] | None:
        """The client's address."""
        ...


class EndedRequest(Protocol):
    """See the module."""

    method: bytes
    target: bytes
    began_s: float
    request_id: bytes
    status: int
    """Of HTTP, also where it came over gRPC; 0: the client got no answer."""
    error: Exception | None
    look: Look | None
    """What is to be told of it; None: nothing, unless it fails."""
    cold: ColdStart | None
    tenant: str
    """Who asks; empty where that is not known."""
    hop: str
    body_bytes: int
    bytes_out: int

    @property
    def fields(self) -> Mapping[bytes, bytes]:
        """Headers, or metadata, by name."""
        ...

    @property
    def link(self) -> _Link:
        """Over what it came."""
        ...

    @property
    def bot_id(self) -> str:
        """The bot that is asked."""
        ...

    @property
    def pool(self) -> PoolState | None:
        """That was asked last."""
        ...

    @property
    def tries(self) -> int:
        """At pools, those that failed among them."""
        ...

    @property
    def has_answered(self) -> bool:
        """Whether the head of an answer went to the client that is not whole yet."""
        ...
