"""The zygotes of a stack: one a framework that forks replicas, and a second, forked from it, that waits to replace it.

Importing a framework takes seconds, forking takes milliseconds. The standby is a fork too, so it costs no import and
shares its pages; when the active zygote dies the standby takes its place at once and forks the next standby.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from botshard.local import zygote_wire as wire
from botshard.local.processes import Process, adopt, spawn
from botshard.local.scaling import restart_delay_s
from botshard.logs import fields

__all__ = ["ForkOrder", "ZygoteRecord", "Zygotes"]

_log = logging.getLogger(__name__)

_STANDBY = "standby/"
"""Begins the token of an order for a standby; what follows tells it from one of the keeper before."""

# Unless the user says otherwise. One thread a process: replicas multiply compute, and libraries that start threads when
# they are imported cannot be forked safely.
_ENVIRON = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True, slots=True)
class ForkOrder:
    """One replica to be made. Repeated to the next zygote if the one that was asked dies before it has answered."""

    token: str
    environ: Mapping[str, str]
    fds: Mapping[str, int]
    """Descriptors to pass, by the variable that will hold their number."""


@dataclass(frozen=True, slots=True)
class ZygoteRecord:
    """What a restarted keeper needs to go on with a zygote; its channel is in the fd store under `fd_name`."""

    framework: str
    fd_name: str
    pid: int
    start_ticks: int
    ready: bool
    code_ticks: int = 0
    """When what it has imported was read (`processes.Process.code_ticks`)."""


@dataclass(slots=True, eq=False)
class _Zygote:
    framework: str
    fd_name: str
    channel: socket.socket
    process: Process
    ready: bool = False


@dataclass(slots=True)
class _Framework:
    active: _Zygote | None = None
    standby: _Zygote | None = None
    successor: _Zygote | None = None
    """Imports everything anew, and takes over from both once it has."""
    orders: dict[str, ForkOrder] = field(default_factory=dict)
    """Not answered yet, by token."""
    sent: set[str] = field(default_factory=set)
    """Those of them that the active zygote has been told."""
    pending_standby: tuple[str, socket.socket] | None = None
    """Token and channel of the standby that was ordered."""
    failures: int = 0
    start_after_s: float = 0.0


class Zygotes:
    """All of them. Callbacks come from the event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        environ: Mapping[str, str],
        *,
        keep: Callable[[str, socket.socket], None],
        drop: Callable[[str], None],
        forked: Callable[[str, Process], None],
        ended: Callable[[int, int], None],
        changed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._environ = {**_ENVIRON, **environ}
        self._keep, self._drop = keep, drop
        self._forked, self._ended, self._changed = forked, ended, changed
        self._frameworks: dict[str, _Framework] = {}
        self._counter = itertools.count(1)
        self._closing = False

    def records(self) -> list[ZygoteRecord]:
        """For the keeper that comes after this one."""
        return [
            ZygoteRecord(z.framework, z.fd_name, z.process.pid, z.process.start_ticks, z.ready, z.process.code_ticks)
            for framework in self._frameworks.values()
            for z in (framework.active, framework.standby, framework.successor)
            if z is not None
        ]

    def adopt(self, record: ZygoteRecord, channel: socket.socket) -> bool:
        """Go on with a zygote of the keeper before; False where it is gone."""
        process = adopt(record.pid, record.start_ticks, code_ticks=record.code_ticks)
        if process is None or not process.is_alive:
            return False
        framework = self._frameworks.setdefault(record.framework, _Framework())
        zygote = _Zygote(record.framework, record.fd_name, channel, process, record.ready)
        self._watch(zygote)
        if framework.active is None:
            framework.active = zygote
        elif process.code_ticks > framework.active.process.code_ticks:
            framework.successor = zygote
        else:
            framework.standby = zygote
        # Names of the keeper before stay taken.
        self._counter = itertools.count(max(next(self._counter), int(record.fd_name.rpartition("/")[2]) + 1))
        return True

    def warm(self, framework: str) -> None:
        """Have a zygote of this framework and one that stands by, where there is none yet."""
        state = self._frameworks.setdefault(framework, _Framework())
        if state.active is not None:
            if state.active.ready:
                self._order_standby(state)  # one was lost together with the keeper that would have replaced it
            return
        if self._closing or self._loop.time() < state.start_after_s:
            return
        state.active = self._start(framework)

    def replace_older(self, ticks: int) -> bool:
        """Bring the zygotes, one framework after the other, nearer to having read their code since `ticks`.

        True once they have.
        A zygote goes on forking until its successor has imported everything. What it has forked goes on in any case.
        """
        return all(self._replace_older(framework, state, ticks) for framework, state in self._frameworks.items())

    def is_ready(self, framework: str) -> bool:
        """Whether a replica of this framework can be forked now."""
        state = self._frameworks.get(framework)
        return state is not None and state.active is not None and state.active.ready

    def fork(self, framework: str, order: ForkOrder) -> None:
        """Make a replica, at once or as soon as the zygote has imported everything."""
        state = self._frameworks.setdefault(framework, _Framework())
        state.orders[order.token] = order
        self.warm(framework)
        self._send_orders(state)

    def cancel(self, framework: str, token: str) -> bool:
        """Forget an order, unless a zygote has been told already; whether there will be no replica of it."""
        state = self._frameworks.get(framework)
        if state is None or token in state.sent:
            return state is None
        state.orders.pop(token, None)
        return True

    def close(self) -> None:
        """Let all zygotes end; what they have forked goes on."""
        self._closing = True
        for state in self._frameworks.values():
            for zygote in (state.active, state.standby, state.successor):
                if zygote is not None:
                    # One that still imports would see the end of its channel seconds later, after everything is gone.
                    zygote.process.send(signal.SIGTERM)
                    self._forget(zygote)

    def failures(self, framework: str) -> int:
        """How often in a row a zygote of this framework has ended without having become ready."""
        state = self._frameworks.get(framework)
        return state.failures if state is not None else 0

    def _replace_older(self, framework: str, state: _Framework, ticks: int) -> bool:
        active, successor = state.active, state.successor
        if active is None:
            return True  # the next one reads its code anew anyway
        if active.process.code_ticks >= ticks:
            return active.ready
        if successor is None:
            if self._loop.time() >= state.start_after_s:
                state.successor = self._start(framework)
        elif successor.process.code_ticks < ticks:
            self._retire(successor)  # of a replacement that was overtaken by another one
            state.successor = None
        elif successor.ready and not state.sent:
            for before in (active, state.standby):
                if before is not None:
                    self._retire(before)
            self._drop_pending_standby(state)
            state.active, state.standby, state.successor = successor, None, None
            self._send_orders(state)
            self._order_standby(state)
            _log.info("zygote replaced", extra=fields(framework=framework, pid=successor.process.pid))
            return True
        return False

    def _retire(self, zygote: _Zygote) -> None:
        self._loop.remove_reader(zygote.channel)
        zygote.channel.close()
        self._drop(zygote.fd_name)
        zygote.process.unwatch(self._loop)
        zygote.process.watch(self._loop, Process.close)
        zygote.process.send(signal.SIGTERM)
        self._changed()

    def _drop_pending_standby(self, state: _Framework) -> None:
        if state.pending_standby is not None:
            state.pending_standby[1].close()  # it ends by itself, since nobody holds its channel
            state.pending_standby = None

    def _start(self, framework: str) -> _Zygote | None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {**self._environ, wire.CONTROL_FD_VARIABLE: str(theirs.fileno())}
        argv = [sys.executable, "-m", "kserve_runtimes.zygote", "--framework", framework]
        with theirs:
            try:
                process = spawn(argv, environ, pass_fds=[theirs.fileno()])
            except OSError:
                ours.close()
                state = self._frameworks[framework]
                state.failures += 1
                state.start_after_s = self._loop.time() + restart_delay_s(state.failures, 0.0)
                _log.exception("cannot start a zygote", extra=fields(framework=framework))
                return None
        _log.info("zygote started", extra=fields(framework=framework, pid=process.pid))
        return self._join(framework, ours, process)

    def _join(self, framework: str, channel: socket.socket, process: Process) -> _Zygote:
        fd_name = f"zygote/{framework}/{next(self._counter)}"
        zygote = _Zygote(framework, fd_name, channel, process)
        self._keep(fd_name, channel)
        self._watch(zygote)
        self._changed()
        return zygote

    def _watch(self, zygote: _Zygote) -> None:
        zygote.channel.setblocking(False)
        self._loop.add_reader(zygote.channel, self._on_message, zygote)
        zygote.process.watch(self._loop, lambda _: self._on_end(zygote))

    def _forget(self, zygote: _Zygote) -> None:
        self._loop.remove_reader(zygote.channel)
        zygote.process.unwatch(self._loop)
        zygote.channel.close()
        zygote.process.close()
        self._drop(zygote.fd_name)
        self._changed()

    def _on_message(self, zygote: _Zygote) -> None:
        state = self._frameworks[zygote.framework]
        try:
            received = wire.receive(zygote.channel)
        except BlockingIOError:
            return
        except ConnectionError:
            received = None
        if received is None:
            self._loop.remove_reader(zygote.channel)  # its end follows on the pidfd
            return
        match received[0]:
            case wire.ZygoteReady(import_s=import_s):
                zygote.ready = True
                state.failures = 0
                self._changed()
                if zygote is state.active:
                    _log.info("zygote ready", extra=fields(framework=zygote.framework, import_s=import_s))
                    self._send_orders(state)
                    self._order_standby(state)
            case wire.Forked(token=token, pid=pid) if token.startswith(_STANDBY):
                self._on_standby(zygote, token, pid)
            case wire.Forked(token=token, pid=pid):
                state.orders.pop(token, None)
                state.sent.discard(token)
                process = adopt(pid, None, code_ticks=zygote.process.code_ticks)
                if process is not None:
                    self._forked(token, process)
            case wire.ZygoteExit(pid=pid, exit_code=exit_code):
                self._ended(pid, exit_code)

    def _send_orders(self, state: _Framework) -> None:
        zygote = state.active
        if zygote is None or not zygote.ready:
            return
        for order in state.orders.values():
            if order.token in state.sent:
                continue
            request = wire.ForkRequest(order.token, order.environ, tuple(order.fds))
            try:
                wire.send(zygote.channel, request, fds=tuple(order.fds.values()))
            except OSError:
                return  # it is dying: the orders go to its successor
            state.sent.add(order.token)

    def _order_standby(self, state: _Framework) -> None:
        zygote = state.active
        if zygote is None or state.standby is not None or state.pending_standby is not None or self._closing:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        token = _STANDBY + secrets.token_hex(4)
        request = wire.ForkRequest(token, {}, (wire.CONTROL_FD_VARIABLE,))
        with theirs:
            try:
                wire.send(zygote.channel, request, fds=(theirs.fileno(),))
            except OSError:
                ours.close()
                return
        state.pending_standby = (token, ours)

    def _on_standby(self, parent: _Zygote, token: str, pid: int) -> None:
        state = self._frameworks[parent.framework]
        if state.pending_standby is None or state.pending_standby[0] != token:
            return  # ordered by a keeper that has died; it ends by itself, since nobody holds its channel
        channel, state.pending_standby = state.pending_standby[1], None
        process = adopt(pid, None, code_ticks=parent.process.code_ticks)
        if process is None:
            channel.close()
            return
        state.standby = self._join(parent.framework, channel, process)

    def _on_end(self, zygote: _Zygote) -> None:
        state = self._frameworks[zygote.framework]
        # Answers that it sent before it died are still in the channel.
        while self._loop_has(zygote):
            self._on_message(zygote)
        self._forget(zygote)
        if self._closing:
            return
        how = fields(framework=zygote.framework, pid=zygote.process.pid, exit=zygote.process.exit_code)
        _log.warning("zygote ended", extra=how)
        if zygote is state.standby:
            state.standby = None
            self._order_standby(state)
            return
        if zygote is state.successor:
            state.successor = None
            self._pause(state, zygote)
            return
        state.sent.clear()
        self._drop_pending_standby(state)
        state.active, state.standby = state.standby, None
        if state.active is None:
            state.active, state.successor = state.successor, None
        if state.active is not None:
            self._send_orders(state)
            self._order_standby(state)
            return
        self._pause(state, zygote)
        self.warm(zygote.framework)

    def _pause(self, state: _Framework, ended: _Zygote) -> None:
        now_s = self._loop.time()
        state.failures += 1
        # The keeper asks for it at each of its turns; while the pause lasts that does nothing.
        state.start_after_s = now_s + restart_delay_s(state.failures, now_s - ended.process.started_at_s)

    def _loop_has(self, zygote: _Zygote) -> bool:
        try:
            return bool(zygote.channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False
