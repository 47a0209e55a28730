"""What keeper and zygote say to each other: JSON messages over a SOCK_SEQPACKET pair, sockets passed along.

A zygote is a process that has imported a framework and the runtime and has started nothing: no thread, no event loop,
no op. On a `ForkRequest` it forks; the child becomes a replica within milliseconds because nothing is imported any
more, and it shares the imported pages with its siblings. The zygote answers with the child's pid, and later with how
it ended, which only a parent can know. When its end of the pair is closed, the zygote ends; its children go on.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CONTROL_FD_VARIABLE", "ForkRequest", "Forked", "ZygoteExit", "ZygoteReady", "receive", "send"]

CONTROL_FD_VARIABLE = "BOTSHARD_ZYGOTE_FD"
"""Environment variable with the number of the zygote's end of the pair."""

_MAX_MESSAGE_BYTES = 64 * 1024
_MAX_FDS = 8


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """Make one replica, or the next zygote: if `fd_variables` name CONTROL_FD_VARIABLE, the child stands by as one.

    The fds that travel with the message are named, in order, by `fd_variables`.
    """

    token: str
    """Comes back in `Forked`."""
    environ: Mapping[str, str]
    """Added to the zygote's own environment, as are the fd variables with the numbers that it received."""
    fd_variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ZygoteReady:
    """Everything is imported."""

    framework: str
    import_s: float


@dataclass(frozen=True, slots=True)
class Forked:
    """The replica asked for under `token` is process `pid`."""

    token: str
    pid: int


@dataclass(frozen=True, slots=True)
class ZygoteExit:
    """A replica ended. `exit_code` is negative for a signal, as in `subprocess`."""

    pid: int
    exit_code: int


_KINDS = {kind.__name__: kind for kind in (ForkRequest, ZygoteReady, Forked, ZygoteExit)}


def send(
    channel: socket.socket,
    message: ForkRequest | ZygoteReady | Forked | ZygoteExit,
    /,
    *,
    fds: tuple[int, ...] = (),
) -> None:
    """Send one message with its file descriptors.

    Raises: OSError where the other end is gone.
    """
    body = {name: getattr(message, name) for name in message.__dataclass_fields__}
    data = json.dumps({"kind": type(message).__name__, **body}).encode()
    socket.send_fds(channel, [data], list(fds))


def receive(
    channel: socket.socket, /
) -> tuple[ForkRequest | ZygoteReady | Forked | ZygoteExit, tuple[int, ...]] | None:
    """The next message and its file descriptors (close-on-exec); None when the other end is closed.

    Raises: BlockingIOError on a non-blocking channel with nothing to read.
    """
    try:
        data, fds, _, _ = socket.recv_fds(channel, _MAX_MESSAGE_BYTES, _MAX_FDS)
    except ConnectionError:  # closed with messages of ours unread
        return None
    if not data:
        return None
    document = json.loads(data)
    kind = _KINDS[document.pop("kind")]
    for fd in fds:
        os.set_inheritable(fd, False)  # Python's recv_fds takes MSG_CMSG_CLOEXEC and leaves it out
    document = {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}
    message = kind(**document)
    assert isinstance(message, ForkRequest | ZygoteReady | Forked | ZygoteExit)  # noqa: S101 - narrows a class looked up by name
    return message, tuple(fds)
