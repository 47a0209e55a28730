"""The keeper's end of the channel to the front: hands sockets over, and starts a new front when the old one dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from botshard.local import fd_store
from botshard.logs import fields

__all__ = ["FrontLink"]

_log = logging.getLogger(__name__)


class FrontLink:
    """What keeper and front share. `start_front` makes a new front and returns its channel and pid."""

    def __init__(
        self, channel: socket.socket, front_pid: int, start_front: Callable[[], tuple[socket.socket, int]]
    ) -> None:
        self._channel = channel
        self.front_pid = front_pid
        self._start_front = start_front
        self._kept: dict[str, socket.socket] = {}
        self._offered: dict[str, socket.socket] = {}

    def receive_stored(self) -> None:
        """Take over what the front has kept from the keeper before; blocks until it has said that this is all."""
        while True:
            received = fd_store.receive(self._channel)
            match received:
                case None:
                    raise ConnectionError("the front ended while the keeper began")
                case (fd_store.Stored(name=name), int(fd)):
                    self._offered[name] = socket.socket(fileno=fd)
                case (fd_store.StoredAll(), _):
                    return

    def watch(self, loop: asyncio.AbstractEventLoop, replaced: Callable[[], None]) -> None:
        """Notice the death of the front from now on; `replaced` is called when there is a new one."""
        self._channel.setblocking(False)
        loop.add_reader(self._channel, self._on_readable, loop, replaced)

    def take(self, name: str) -> socket.socket | None:
        """The socket that the front has kept under `name`; it stays kept."""
        found = self._offered.pop(name, None)
        if found is not None:
            found.setblocking(False)
            self._kept[name] = found
        return found

    def keep(self, name: str, kept: socket.socket) -> None:
        """Have the front keep a socket too."""
        self._kept[name] = kept
        self.say(fd_store.Stored(name), kept.fileno())

    def drop(self, name: str) -> None:
        """Have the front close what it keeps under `name`."""
        if self._kept.pop(name, None) is not None:
            self.say(fd_store.Dropped(name))

    def drop_untaken(self) -> None:
        """Close whatever the front offered that nobody has taken."""
        for name, offered in self._offered.items():
            offered.close()
            self.say(fd_store.Dropped(name))
        self._offered.clear()

    def bye(self, loop: asyncio.AbstractEventLoop, exit_code: int) -> None:
        """Tell the front that both of them end; its end is no death any more."""
        loop.remove_reader(self._channel)
        self.say(fd_store.Bye(exit_code))

    def make_room(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the front start another keeper as soon as this one has ended."""
        loop.remove_reader(self._channel)
        self.say(fd_store.MakingRoom())

    def say(self, message: fd_store.Message, fd: int | None = None) -> None:
        """Send a message; a front that is dying gets it again when it has been replaced."""
        with contextlib.suppress(OSError):
            fd_store.send(self._channel, message, fd)

    def _on_readable(self, loop: asyncio.AbstractEventLoop, replaced: Callable[[], None]) -> None:
        try:
            received = fd_store.receive(self._channel)
        except BlockingIOError:
            return
        if received is not None:
            return  # a front has nothing to say after the beginning
        loop.remove_reader(self._channel)
        self._channel.close()
        self._channel, self.front_pid = self._start_front()
        for name, kept in self._kept.items():
            self.say(fd_store.Stored(name), kept.fileno())
        self.say(fd_store.StoredAll())
        _log.warning("front lost; another one is there", extra=fields(pid=self.front_pid))
        self.watch(loop, replaced)
        replaced()
