"""The front: what `botshard up` itself is. Does little, so that little can go wrong with it.

It checks the folder, binds the router's port, starts the keeper, keeps the keeper's sockets, passes signals on, and
starts another keeper when the first one dies. The keeper does the same for the front.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from botshard.local import fd_store
from botshard.local.processes import STOP_SIGNALS, Process, adopt, become_subreaper, spawn
from botshard.local.records import Records
from botshard.local.settings import SETTINGS_VARIABLE, StackFolder, StackSettings
from botshard.logs import fields
from botshard.sharding.errors import TerminalError
from botshard.sharding.units import MEBIBYTE, format_bytes

__all__ = ["Front", "FrontFds", "StackError", "prepare", "running_stack"]

_log = logging.getLogger(__name__)

LINK_FD_VARIABLE = "BOTSHARD_LINK_FD"
LOCK_FD_VARIABLE = "BOTSHARD_LOCK_FD"
LIFELINE_FD_VARIABLE = "BOTSHARD_LIFELINE_FD"
LIFELINE_WRITE_FD_VARIABLE = "BOTSHARD_LIFELINE_WRITE_FD"
OWN_VARIABLES = (
    SETTINGS_VARIABLE,
    LINK_FD_VARIABLE,
    LOCK_FD_VARIABLE,
    LIFELINE_FD_VARIABLE,
    LIFELINE_WRITE_FD_VARIABLE,
)
"""Variables between front and keeper; no other child gets them as they are."""

_MIN_FREE_BYTES = 64 * MEBIBYTE
_MOST_KEEPER_DEATHS = 5
_DEATHS_WINDOW_S = 20.0
_ROUTER_BACKLOG = 4096


class StackError(TerminalError):
    """A stack cannot start here; the message says why and what helps."""


@dataclass(frozen=True, slots=True)
class FrontFds:
    """Descriptors that front and keeper both hold."""

    lock: int
    """Open and locked file: as long as either holds it, no other stack starts in the folder."""
    lifeline: int
    """Read end of a pipe. Children that see its end know that neither front nor keeper is left."""
    lifeline_write: int

    def variables(self, link: int) -> dict[str, str]:
        """Environment that names them to the other process."""
        return {
            LINK_FD_VARIABLE: str(link),
            LOCK_FD_VARIABLE: str(self.lock),
            LIFELINE_FD_VARIABLE: str(self.lifeline),
            LIFELINE_WRITE_FD_VARIABLE: str(self.lifeline_write),
        }

    def all(self) -> tuple[int, int, int]:
        """All of them."""
        return (self.lock, self.lifeline, self.lifeline_write)


def prepare(settings: StackSettings) -> tuple[FrontFds, socket.socket]:
    """Take the folder and the router's port.

    Raises: StackError.
    """
    folder = settings.folder
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(folder.path).free
        lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StackError(f"cannot use the folder {folder.path}: {error.strerror}; give another one") from error
    if free_bytes < _MIN_FREE_BYTES:
        raise StackError(
            f"only {format_bytes(free_bytes)} are free on the disk of {folder.path}, a stack needs at least "
            f"{format_bytes(_MIN_FREE_BYTES)}; free some, or give another folder"
        )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        running = running_stack(folder)
        where = f" at {running['url']} (process {running['frontPid']})" if running else ""
        raise StackError(
            f"a stack already runs in {folder.path}{where}; stop it with: botshard down {folder.path}"
        ) from None
    _clear_leftovers(folder)
    folder.run.mkdir(exist_ok=True)
    folder.home.mkdir(exist_ok=True)
    folder.cache.mkdir(exist_ok=True)
    listener = _bind_router(settings)
    lifeline, lifeline_write = os.pipe()
    return FrontFds(lock, lifeline, lifeline_write), listener


def running_stack(folder: StackFolder) -> dict[str, object] | None:
    """Address and pids of the stack that says it runs in `folder`; None where there is none."""
    try:
        said = json.loads(folder.stack.read_bytes())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _bind_router(settings: StackSettings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=_ROUTER_BACKLOG)
    except OSError as error:
        raise StackError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "free the port, choose another with --port, or let the system choose with --port 0"
        ) from error


def _clear_leftovers(folder: StackFolder) -> None:
    """End what a stack that was killed as a whole has left: its processes end by themselves, this only hastens it."""
    records = Records.read(folder.processes)
    left = [(record.pid, record.start_ticks) for record in records.processes]
    left += [(record.pid, record.start_ticks) for record in records.zygotes]
    for pid, start_ticks in left:
        process = adopt(pid, start_ticks)
        if process is not None:
            process.send(signal.SIGKILL)
            process.close()
    shutil.rmtree(folder.run, ignore_errors=True)


@dataclass(eq=False)
class Front:
    """One front, for as long as its process runs."""

    settings: StackSettings
    environ: Mapping[str, str]
    fds: FrontFds
    stored: dict[str, int] = field(default_factory=dict)
    """Descriptors kept for the keeper, by name."""
    _link: socket.socket | None = None
    _keeper: Process | None = None
    _deaths_at_s: list[float] = field(default_factory=list)
    _keeper_makes_room: bool = False
    _stop_signals: int = 0

    def begin(self, listener: socket.socket) -> None:
        """Start the first keeper. The router's socket belongs to the front from here on."""
        self._take_signals()
        self.stored["router"] = listener.detach()
        self._start_keeper()

    def attach(self, link: socket.socket, keeper_pid: int) -> None:
        """Go on for a front that has died; the keeper hands over what is to be kept."""
        self._link = link
        self._keeper = adopt(keeper_pid, None)
        self._take_signals()

    def run(self) -> int:
        """Serve until the keeper says that it ends; its exit code, or 1 when it cannot be kept alive."""
        become_subreaper()
        wake, wake_write = socket.socketpair()
        wake.setblocking(False)
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self._on_signal)
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(wake, selectors.EVENT_READ)
                if self._link is not None:
                    selector.register(self._link, selectors.EVENT_READ)
                ready = {key.fileobj for key, _ in selector.select()}
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    wake.recv(4096)
                _reap_all()
            if self._link in ready:
                exit_code = self._on_message()
                if exit_code is not None:
                    return exit_code

    def _take_signals(self) -> None:
        """From before there is a keeper: one that lost its front to a Ctrl-C would start another one and go on."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self._stop_signals += 1
            if self._keeper is not None:
                self._keeper.send(signal.SIGTERM)

    def _on_message(self) -> int | None:
        if self._link is None:
            return None
        received = fd_store.receive(self._link)
        match received:
            case None:
                return self._on_keeper_death()
            case (fd_store.Stored(name=name), int(fd)):
                self._forget(name)
                self.stored[name] = fd
            case (fd_store.Dropped(name=name), _):
                self._forget(name)
            case (fd_store.MakingRoom(), _):
                self._keeper_makes_room = True
            case (fd_store.Bye(exit_code=exit_code), _):
                with contextlib.suppress(OSError):
                    self.settings.folder.lock.unlink()
                return exit_code
        return None

    def _on_keeper_death(self) -> int | None:
        if self._keeper_makes_room:
            self._keeper_makes_room = False
            self._start_keeper()
            return None
        now_s = time.monotonic()
        self._deaths_at_s = [at_s for at_s in self._deaths_at_s if now_s - at_s < _DEATHS_WINDOW_S] + [now_s]
        if self._stop_signals or len(self._deaths_at_s) > _MOST_KEEPER_DEATHS:
            _log.error("the keeper ended; the stack ends with it", extra=fields(deaths=len(self._deaths_at_s)))
            return 1
        self._start_keeper()
        return None

    def _start_keeper(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {
            **self.environ,
            **self.fds.variables(theirs.fileno()),
            SETTINGS_VARIABLE: self.settings.to_json(),
        }
        argv = [sys.executable, "-m", "botshard.local.main", "keeper"]
        with theirs:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the keeper listens to them
            # A session of its own: Ctrl-C reaches the front alone, which then stops everything in order.
            self._keeper = spawn(argv, environ, pass_fds=[theirs.fileno(), *self.fds.all()], new_session=True)
            if self._stop_signals:
                self._keeper.send(signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name, fd in self.stored.items():
            fd_store.send(ours, fd_store.Stored(name), fd)
        fd_store.send(ours, fd_store.StoredAll())
        self._link = ours

    def _forget(self, name: str) -> None:
        fd = self.stored.pop(name, None)
        if fd is not None:
            os.close(fd)


def _reap_all() -> None:
    """Take the exit codes of whatever has ended: the keeper, or what a dead keeper has left to us."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
