"""Access control put together from its settings: what is asked, what is followed, whom clients and pools see."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time

from botshard.http1.asgi import Application
from botshard.store.access_keys import decode_keys
from botshard.store.access_limits import decode_limits
from botshard.store.base import ObjectStore
from botshard.store.documents import DocumentFollower
from botshard.store.layout import ACCESS_KEYS, ACCESS_LIMITS
from router.access.gate import Gate
from router.access.guard import guarded
from router.access.keys import KeyRing
from router.access.settings import AccessSettings, TlsSettings
from router.access.tls import client_side, server_side
from router.following import Followed

__all__ = ["Access", "make_access"]


@dataclass(frozen=True, slots=True)
class Access:
    """The parts. Without access control and TLS all of them are empty."""

    gate: Gate | None
    followed: tuple[Followed, ...]
    """What the router looks at in each poll."""
    listening: ssl.SSLContext | None
    """Of the clients' side."""
    upstream: Callable[[], ssl.SSLContext] | None
    """Of the pools' side."""
    metrics_open: bool

    def guarded(self, app: Application, /) -> Application:
        """The application behind the gate, if there is one."""
        return app if self.gate is None else guarded(app, self.gate, metrics_open=self.metrics_open)


def make_access(access: AccessSettings, tls: TlsSettings, store: ObjectStore, /, *, workers: int = 1) -> Access:
    """Put it together.

    Args:
        access: who may.
        tls: files for the security of connections.
        store: where keys and limits are.
        workers: router processes on this machine that share the limits.

    Raises: InvalidDocumentError for files that cannot be used.
    """
    followed: list[Followed] = []
    server, client = server_side(tls), client_side(tls)
    if server is not None:
        followed.append(server[0])
    if client is not None:
        followed.append(client)
    gate = None
    if access.is_on:
        keys = DocumentFollower(store, ACCESS_KEYS, decode=decode_keys)
        limits = DocumentFollower(store, ACCESS_LIMITS, decode=decode_limits)
        followed += [keys, limits]
        tokens = None
        if access.tokens is not None:
            # Brings a cryptographic library along, which routers without tokens are spared.
            from router.access.key_set import KeySetFollower
            from router.access.tokens import Tokens

            said = access.tokens
            key_set = KeySetFollower(said.key_set_url, algorithms=said.algorithms, interval_s=said.interval_s)
            followed.append(key_set)
            tokens = Tokens(key_set, said.claims, clock_s=monotonic, wall_s=time)
        gate = Gate(KeyRing(keys, clock_s=monotonic, wall_s=time), tokens, limits=limits, workers=workers)
    return Access(
        gate=gate,
        followed=tuple(followed),
        listening=None if server is None else server[1],
        upstream=None if client is None else lambda: client.context,
        metrics_open=access.metrics_open,
    )
