"""Two processes that keep each other's file descriptors, so that the death of either loses none.

Front and keeper are joined by a SOCK_SEQPACKET pair. Whatever socket the keeper makes (the router's and the pools'
listening sockets, its ends of the zygotes' channels) it also hands to the front, under a name. When one of the two
dies, the other starts it again and hands over all it has: systemd's file descriptor store, twice.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass

__all__ = ["Bye", "Dropped", "MakingRoom", "Stored", "StoredAll", "receive", "send"]

_MAX_MESSAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Stored:
    """Keep the file descriptor that comes with this message under `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class StoredAll:
    """Everything that was kept has been handed over."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Close what is kept under `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Bye:
    """The sender ends on purpose, with this exit code: do not start it again."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class MakingRoom:
    """The sender ends on purpose: start another one in its place."""


Message = Stored | StoredAll | Dropped | Bye | MakingRoom

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in (Stored, StoredAll, Dropped, Bye, MakingRoom)}


def send(channel: socket.socket, message: Message, /, fd: int | None = None) -> None:
    """Send a message, with a file descriptor where it is `Stored`.

    Raises: OSError where the other end is gone.
    """
    body = {name: getattr(message, name) for name in message.__dataclass_fields__}
    data = json.dumps({"kind": type(message).__name__, **body}).encode()
    socket.send_fds(channel, [data], [] if fd is None else [fd])


def receive(channel: socket.socket, /) -> tuple[Message, int | None] | None:
    """The next message and the file descriptor that came with it; None when the other end is gone.

    Raises: BlockingIOError on a non-blocking channel with nothing to read.
    """
    try:
        data, fds, _, _ = socket.recv_fds(channel, _MAX_MESSAGE_BYTES, 1)
    except ConnectionError:
        return None
    if not data:
        return None
    document = json.loads(data)
    message = _KINDS[document.pop("kind")](**document)
    if fds and not isinstance(message, Stored):
        os.close(fds[0])
        fds = []
    for fd in fds:
        os.set_inheritable(fd, False)  # Python's recv_fds takes MSG_CMSG_CLOEXEC and leaves it out
    return message, fds[0] if fds else None
