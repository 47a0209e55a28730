"""A listening socket and the worker that serves it, as their supervisor sees them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from router.workers.sums import Family
from router.workers.wire import LINK_FD, SEATS, SUCCESSOR, Message, Wire

__all__ = ["Member", "Seat", "restart_delay_s"]

_NOT_THEIRS: Final = ("NOTIFY_SOCKET", "BOTSHARD_LIFELINE_FD")
"""Variables for the supervisor alone: a worker ends when its supervisor does."""
_FIRST_DELAY_S: Final = 0.1
_MOST_DELAY_S: Final = 5.0
_MOST_DOUBLINGS: Final = 10


def restart_delay_s(failures: int, /) -> float:
    """How long to wait before the next start, after so many in a row that came to nothing."""
    return min(_MOST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)) if failures > 0 else 0.0


class Member:
    """One worker: a process and the wire to it."""

    def __init__(self, seat: Seat, environ: Mapping[str, str], *, others: Sequence[int], is_successor: bool) -> None:
        """Start it, with the sockets that it may cover; `connect` is to follow. Raises: OSError."""
        self.seat = seat
        self.started_s = time.monotonic()
        self.serves = asyncio.Event()
        """It accepts connections."""
        self.over = asyncio.Event()
        """Its process has ended, and all that it told was heard."""
        self.is_going = False
        """It takes no new connections any more, or was told to."""
        self.families: Sequence[Family] = ()
        """What it told last."""
        self.about: Mapping[str, Any] = {}
        """The same for people."""
        self.exit_code: int | None = None
        self._gone: Callable[[Member], None] = lambda _: None
        self._wire: Wire | None = None
        self._link, theirs = socket.socketpair()
        with theirs:
            fds = (theirs.fileno(), seat.socket.fileno(), *others)
            own = {name: value for name, value in environ.items() if name not in _NOT_THEIRS}
            own |= {LINK_FD: str(fds[0]), "ROUTER_LISTEN_FD": str(fds[1]), SEATS: " ".join(map(str, others))}
            own |= {SUCCESSOR: "1" if is_successor else ""}
            try:
                # A process group of its own: Ctrl-C reaches the supervisor alone, which then stops all in order.
                self._popen = subprocess.Popen(
                    [sys.executable, "-m", "router"], env=own, pass_fds=fds, stdin=subprocess.DEVNULL, process_group=0
                )
            except OSError:
                self._link.close()
                raise

    async def connect(self, *, heard: Callable[[Member, Message], None], gone: Callable[[Member], None]) -> None:
        """Listen to it: `heard` gets its messages, `gone` is called once nothing of it is left."""
        self._gone = gone
        self._wire = await Wire.over(self._link, lambda message: heard(self, message), self._lost)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._popen.pid

    def tell(self, message: Message, /) -> None:
        """Send it a message."""
        if self._wire is not None:
            self._wire.send(message)

    def hang_up(self) -> None:
        """It has told its last."""
        if self._wire is not None:
            self._wire.close()

    def retire(self) -> None:
        """Another one serves: let it answer what it has and end."""
        self._end("retire")

    def stop(self) -> None:
        """Let it answer what it has and end."""
        self._end("stop")

    def _end(self, how: str) -> None:
        self.is_going = True
        if self.serves.is_set():
            self.tell({"do": how})
        else:
            self.kill()  # it has nothing

    def kill(self) -> None:
        """End it now."""
        self.is_going = True
        with contextlib.suppress(ProcessLookupError):
            self._popen.kill()

    def look(self) -> None:
        """See whether its process has ended."""
        if self.exit_code is None and self._popen.poll() is not None:
            self.exit_code = self._popen.returncode
            self._check_over()

    def _lost(self) -> None:
        self._wire = None
        self._check_over()

    def _check_over(self) -> None:
        if self._wire is None and self.exit_code is not None and not self.over.is_set():
            self.over.set()
            self._gone(self)


@dataclass(eq=False, slots=True)
class Seat:
    """A listening socket. Connections wait in its queue while nobody serves it."""

    number: int
    socket: socket.socket
    member: Member | None = None
    """Who serves it, or is being started to."""
    successor: Member | None = None
    """Who will, once it can."""
    cover: Member | None = None
    """Who accepts here besides while nobody serves it."""
    failures: int = 0
    """Starts in a row that came to nothing."""
    restart: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def is_served(self) -> bool:
        """Whether somebody accepts here."""
        return self.member is not None and self.member.serves.is_set()
