"""The certificate that the gRPC port shows, of the same files as the HTTP port's, read again when they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from router.access.settings import TlsSettings

__all__ = ["server_credentials"]


def server_credentials(settings: TlsSettings, /) -> Any:
    """The credentials of a server; None: clients come without TLS. The files were tried out by `router.access.tls`.

    Raises: OSError.
    """
    if not settings.cert:
        return None
    names = [settings.key, settings.cert, *([settings.client_ca] if settings.client_ca else [])]

    def read() -> list[bytes]:
        return [Path(name).read_bytes() for name in names]

    def configuration(contents: list[bytes]) -> Any:
        return grpc.ssl_server_certificate_configuration(
            [(contents[0], contents[1])], root_certificates=contents[2] if settings.client_ca else None
        )

    held = read()

    def newest() -> Any:
        """Asked in each handshake; None: as before."""
        nonlocal held
        try:
            found = read()
        except OSError:
            return None  # in the middle of being replaced
        if found == held:
            return None
        held = found
        return configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        configuration(held), newest, require_client_authentication=bool(settings.client_ca)
    )
