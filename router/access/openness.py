"""A router that nobody is asked at, on an address that others reach, is started by a word of the operator only."""

from __future__ import annotations

import ipaddress
import socket

from botshard.sharding.errors import InvalidDocumentError, Problem
from router.access.settings import AccessSettings

__all__ = ["is_loopback", "refuse_open", "refuse_open_host"]


def refuse_open(listening: socket.socket, access: AccessSettings, /) -> None:
    """Whoever can reach the socket can ask every bot, and see every tenant's: refuse that unless it is meant.

    Raises: InvalidDocumentError.
    """
    if not is_loopback(listening):
        _refuse(listening.getsockname()[0], access)


def refuse_open_host(host: str, access: AccessSettings, /) -> None:
    """The same for an address that is to be listened on.

    Raises: InvalidDocumentError; OSError where there is no such address.
    """
    for *_, found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        if not ipaddress.ip_address(str(found[0]).partition("%")[0]).is_loopback:
            _refuse(host, access)


def _refuse(where: str, access: AccessSettings) -> None:
    if access.is_on or access.may_be_open:
        return
    expected = (
        "on: the router would listen on an address that other machines reach, and ask nobody who they are. "
        "ROUTER_OPEN=true (or --open) says that this is meant"
    )
    raise InvalidDocumentError(
        "environment of the router", [Problem("ROUTER_ACCESS", f"off, and address {where}", expected)]
    )


def is_loopback(listening: socket.socket, /) -> bool:
    """Whether only this machine reaches a socket."""
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return True
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback
