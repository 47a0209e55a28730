"""Certificates and authorities from files, for both sides; read again when a file changes, so that nothing restarts.

New files are tried out whole before they are used: a certificate without its key, or half of one, is refused and the
last good ones stay. Connections that are open keep what they have.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from botshard.sharding.errors import InvalidDocumentError, Problem
from router.access.settings import TlsSettings

__all__ = ["TlsFiles", "client_side", "server_side"]


class TlsFiles:
    """A context made from files, and made anew when they change."""

    def __init__(self, name: str, files: tuple[str, ...], make: Callable[[], ssl.SSLContext]) -> None:
        """Reads the files.

        Args:
            name: of the setting that names the first of them.
            files: what is watched.
            make: reads them into a context.

        Raises: InvalidDocumentError.
        """
        self.key = name
        self._files = files
        self._make = make
        self._signature = self._look()
        self.problem: str | None = None
        """Why what the files hold now was refused."""
        try:
            self.context = make()
        except (OSError, ValueError) as error:
            problem = Problem(name, f"{', '.join(files)} ({error})", "readable PEM files that fit each other")
            raise InvalidDocumentError("environment of the router", [problem]) from error

    def refresh(self) -> bool:
        """Look whether a file has changed; True where others are in force."""
        signature = self._look()
        if signature == self._signature:
            return False
        try:
            self.context = self._make()
        except (OSError, ValueError) as error:
            # Looked at again when they change once more: files are often replaced one after the other.
            self._signature = signature
            self.problem = f"{', '.join(self._files)}: {error}"
            return False
        self._signature = signature
        self.problem = None
        return True

    def _look(self) -> tuple[object, ...]:
        found: list[object] = []
        for name in self._files:
            try:
                stat = Path(name).stat()
            except OSError as error:
                found.append(error.errno)
            else:
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)


def server_side(settings: TlsSettings, /) -> tuple[TlsFiles, ssl.SSLContext] | None:
    """The files for clients, and the context to listen with: each handshake takes the newest files.

    None: clients come without TLS.

    Raises: InvalidDocumentError.
    """
    if not settings.cert:
        return None

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(settings.cert, settings.key)
        context.set_alpn_protocols(["http/1.1"])
        if settings.client_ca:
            context.load_verify_locations(settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
            # A session that is taken up again would not be checked against authorities that have changed.
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET
        return context

    files = TlsFiles("ROUTER_TLS_CERT", _named(settings.cert, settings.key, settings.client_ca), make)
    listening = make()

    def newest(handshake: ssl.SSLObject, _server_name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = files.context

    listening.sni_callback = newest  # called in every handshake, whether a name was sent or not
    return files, listening


def client_side(settings: TlsSettings, /) -> TlsFiles | None:
    """The files for pools; None: the system's authorities and no certificate of ours.

    Raises: InvalidDocumentError.
    """
    if not settings.upstream_ca and not settings.upstream_cert:
        return None

    def make() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=settings.upstream_ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.upstream_cert:
            context.load_cert_chain(settings.upstream_cert, settings.upstream_key)
        return context

    named = _named(settings.upstream_ca, settings.upstream_cert, settings.upstream_key)
    return TlsFiles("ROUTER_UPSTREAM_CA" if settings.upstream_ca else "ROUTER_UPSTREAM_CERT", named, make)


def _named(*files: str) -> tuple[str, ...]:
    return tuple(name for name in files if name)
