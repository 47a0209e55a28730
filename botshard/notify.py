"""Telling whoever started this process how it is: the datagrams of systemd's `sd_notify`.

Where `NOTIFY_SOCKET` is set (by systemd, or by the local stack), a process sends `READY=1` when it serves, `STOPPING=1`
when it drains, and a pool's replica besides that its requests in flight. Without the variable nothing is sent. A
datagram that cannot be delivered, or that its receiver took with it when it died, is lost: so each one tells again
whether this process serves.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Notice", "Notifier", "parse_notice"]

_IN_FLIGHT = "X_BOTSHARD_IN_FLIGHT"
_REQUESTS = "X_BOTSHARD_REQUESTS"


@dataclass(frozen=True, slots=True)
class Notice:
    """What one datagram said."""

    pid: int
    ready: bool | None = None
    """True: serves; False: no longer takes new work; None: not said."""
    in_flight: int | None = None
    """Requests being answered now."""
    requests: int | None = None
    """Requests taken since the process began."""
    status: str | None = None


class Notifier:
    """Sends notices of this process; silent where there is nobody to hear them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1) or None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if self._address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        self._state: tuple[str, ...] = ()

    def ready(self) -> None:
        """This process serves."""
        self._state = ("READY=1",)
        self._send()

    def stopping(self) -> None:
        """This process finishes what it has and ends."""
        self._state = ("STOPPING=1",)
        self._send()

    def load(self, *, in_flight: int, requests: int) -> None:
        """How busy this replica is."""
        self._send(f"{_IN_FLIGHT}={in_flight}", f"{_REQUESTS}={requests}")

    def status(self, text: str) -> None:
        """One line for people."""
        self._send("STATUS=" + text.replace("\n", " "))

    def close(self) -> None:
        """Send nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None or self._address is None:
            return
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join((f"MAINPID={os.getpid()}", *self._state, *lines)).encode(), self._address)


def parse_notice(datagram: bytes, /) -> Notice | None:
    """What a datagram says; None if it is not one of ours."""
    said = dict(line.partition("=")[::2] for line in datagram.decode("utf-8", "replace").split("\n"))
    try:
        ready = True if said.get("READY") == "1" else False if said.get("STOPPING") == "1" else None
        return Notice(
            pid=int(said["MAINPID"]),
            ready=ready,
            in_flight=int(said[_IN_FLIGHT]) if _IN_FLIGHT in said else None,
            requests=int(said[_REQUESTS]) if _REQUESTS in said else None,
            status=said.get("STATUS"),
        )
    except (KeyError, ValueError):
        return None
