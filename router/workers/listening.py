"""Sockets on one port that the kernel spreads connections over (SO_REUSEPORT)."""

from __future__ import annotations

import socket
from typing import Final

__all__ = ["bound_socket", "inherited_socket", "shared_sockets"]

_BACKLOG: Final = 2048


def bound_socket(*, host: str, port: int) -> socket.socket:
    """One listening socket.

    Raises: OSError, also where somebody listens there already.
    """
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(_BACKLOG)
    except OSError:
        found.close()
        raise
    return found


def shared_sockets(*, host: str, port: int, count: int) -> list[socket.socket]:
    """So many listening sockets on one port, each with a queue of its own.

    The first one is bound without SO_REUSEPORT, so that a port which another router has is told as taken, not shared.

    Raises: OSError.
    """
    sockets = [bound_socket(host=host, port=port)]
    try:
        address = sockets[0].getsockname()
        sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(count - 1):
            further = socket.socket(sockets[0].family, socket.SOCK_STREAM)
            sockets.append(further)
            further.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            further.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            further.bind(address)
            further.listen(_BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def inherited_socket(fd: int, /) -> socket.socket:
    """One that somebody else has bound and listens on.

    Raises: OSError.
    """
    return socket.socket(fileno=fd)
