"""One pool on this machine: a listening socket that is always there, and replicas that come and go behind it.

The socket belongs to the keeper, as with systemd's socket activation. Replicas inherit it and accept from it
themselves, so nothing is proxied; while there is no replica, connections wait in the kernel's queue and the first of
them wakes the pool. A replica that ends, however it ends, loses no connection that it had not accepted.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from botshard.local.processes import Process
from botshard.local.records import ProcessRecord
from botshard.local.scaling import QUICK_DEATH_S, PoolActivity, restart_delay_s, wanted_replicas
from botshard.local.zygotes import ForkOrder, Zygotes
from botshard.logs import fields
from botshard.notify import Notice
from botshard.sharding.fleet import PoolPhase, PoolSpec, PoolStatus

__all__ = ["LocalPool", "Replica"]

_log = logging.getLogger(__name__)

_EXIT_CODE_WAIT_S = 0.1
"""The zygote's word on how a replica ended comes a moment after its pidfd has told that it did."""
_NEVER_S = float("-inf")


@dataclass(slots=True, eq=False)
class Replica:
    """One process of a pool, or the order for it."""

    name: str
    ordered_at_s: float
    process: Process | None = None
    """None until the zygote has answered."""
    ready: bool = False
    stopping: bool = False
    """Told to end, or ending by itself; takes no new connection."""
    in_flight: int = 0
    requests: int = 0

    def is_older_than(self, ticks: int) -> bool:
        """Whether its code was read before."""
        return self.process is not None and self.process.code_ticks < ticks


@dataclass(eq=False)
class LocalPool:
    """One pool. `environ` is what its replicas are told besides their own name."""

    spec: PoolSpec
    listener: socket.socket
    environ: Mapping[str, str]
    lifeline: int
    zygotes: Zygotes
    loop: asyncio.AbstractEventLoop
    changed: Callable[[], None]
    """Called when a process was gained or lost, so that it is written down."""
    replicas: dict[str, Replica] = field(default_factory=dict)
    closing: bool = False
    replace_before_ticks: int = 0
    """Replicas whose code is older are replaced, one after the other: the new one is ready before the old one goes."""
    _activity: PoolActivity = field(default_factory=lambda: PoolActivity(_NEVER_S))
    _failures: int = 0
    _start_after_s: float = _NEVER_S
    _woken_at_s: float | None = None
    _listening_for_wake: bool = False
    _last_end: str = ""

    @property
    def url(self) -> str:
        """Where the pool answers, asleep or not."""
        host, port = self.listener.getsockname()[:2]
        return f"http://{host}:{port}"

    def tick(self) -> None:
        """Bring the number of replicas to what it should be."""
        now_s = self.loop.time()
        wanted = 0 if self.closing else wanted_replicas(self.spec.group, self._activity, now_s=now_s)
        live = [replica for replica in self.replicas.values() if not replica.stopping]
        old = [replica for replica in live if replica.is_older_than(self.replace_before_ticks)]
        if old and wanted:
            self._replace(old, live, wanted, now_s)
        elif len(live) < wanted and now_s >= self._start_after_s:
            for _ in range(wanted - len(live)):
                self._start()
        elif len(live) > wanted:
            # The youngest leave: the oldest have the most bots resident.
            for replica in sorted(live, key=lambda replica: replica.ordered_at_s)[wanted:]:
                self._stop(replica)
            if wanted == 0 and not self.closing:
                _log.info("pool goes to sleep", extra=fields(pool=self.spec.name))
        self._arm()

    def records(self) -> list[ProcessRecord]:
        """For the keeper that comes after this one: those of its replicas that are to go on."""
        going_on = [(r, r.process) for r in self.replicas.values() if r.process is not None and not r.stopping]
        return [
            ProcessRecord(
                "replica", process.pid, process.start_ticks, r.ready, self.spec.name, r.name, process.code_ticks
            )
            for r, process in going_on
        ]

    def is_newer_than(self, ticks: int) -> bool:
        """Whether no replica is left whose code is older, not even one that finishes what it has."""
        return not any(replica.is_older_than(ticks) for replica in self.replicas.values())

    def status(self) -> PoolStatus:
        """How the pool is now."""
        live = [replica for replica in self.replicas.values() if not replica.stopping]
        ready = sum(replica.ready for replica in live)
        wanted = wanted_replicas(self.spec.group, self._activity, now_s=self.loop.time())
        message = ""
        zygote_failures = self.zygotes.failures(self.spec.key.framework)
        if wanted == 0 and not live:
            phase = PoolPhase.ASLEEP
        elif ready >= max(1, wanted):
            phase = PoolPhase.READY
        elif self._failures > 1 or zygote_failures > 1:
            phase = PoolPhase.DEGRADED
            message = self._last_end or f"the zygote of {self.spec.key.framework} ends before it is ready; see the log"
        else:
            phase = PoolPhase.STARTING
        members = tuple(sorted(replica.name for replica in live if replica.process is not None))
        return PoolStatus(self.spec.name, self.url, phase, len(live), ready, message, members)

    def forked(self, name: str, process: Process) -> None:
        """The zygote has made the replica that was ordered under this name, for this keeper or for the one before."""
        replica = self.replicas.setdefault(name, Replica(name, self.loop.time()))
        replica.process = process
        process.watch(self.loop, lambda _: self._on_end(replica))
        if self.closing:
            self._stop(replica)
        self.changed()

    def adopt(self, name: str, process: Process, *, ready: bool) -> None:
        """A replica of the keeper before goes on under this one."""
        self.forked(name, process)
        self.replicas[name].ready = ready
        self._activity.last_request_at_s = self.loop.time()

    def notice(self, replica: Replica, notice: Notice) -> None:
        """A replica has said how it is."""
        now_s = self.loop.time()
        if notice.ready is not None:
            if notice.ready and not replica.ready:
                self._on_ready(replica, now_s)
            is_news = replica.ready != notice.ready
            replica.ready = notice.ready
            replica.stopping = replica.stopping or not notice.ready
            if is_news:
                self.changed()
        if notice.in_flight is not None and notice.requests is not None:
            busy = notice.in_flight > 0 or notice.requests != replica.requests
            replica.in_flight, replica.requests = notice.in_flight, notice.requests
            self._activity.note(now_s, in_flight=self._in_flight(), busy=busy)
        self._arm()

    def close(self) -> None:
        """End all replicas; new connections are refused once the last socket is closed."""
        self.closing = True
        self._disarm()
        for replica in list(self.replicas.values()):
            self._stop(replica)

    def kill(self) -> None:
        """End all replicas now."""
        for replica in self.replicas.values():
            if replica.process is not None:
                replica.process.send(signal.SIGKILL)

    def exit_code_known(self, replica: Replica, exit_code: int) -> None:
        """The zygote says how a replica ended."""
        if replica.process is not None:
            replica.process.set_exit_code(exit_code)

    def _replace(self, old: list[Replica], live: list[Replica], wanted: int, now_s: float) -> None:
        """One replica more than wanted, above the ceiling too, until it is ready; then an old one goes."""
        leaving = min(old, key=lambda replica: (replica.ready, replica.ordered_at_s))
        if sum(replica.ready for replica in live if replica is not leaving) >= wanted:
            self._stop(leaving)
        elif len(live) <= wanted and now_s >= self._start_after_s:
            self._start()

    def _start(self) -> None:
        self._disarm()
        replica = Replica("r" + secrets.token_hex(3), self.loop.time())
        self.replicas[replica.name] = replica
        environ = {**self.environ, "RUNTIME_REPLICA": replica.name}
        fds = {"RUNTIME_LISTEN_FD": self.listener.fileno(), "BOTSHARD_LIFELINE_FD": self.lifeline}
        self.zygotes.fork(self.spec.key.framework, ForkOrder(f"{self.spec.name}/{replica.name}", environ, fds))

    def _stop(self, replica: Replica) -> None:
        replica.stopping = True
        if replica.process is not None:
            replica.process.send(signal.SIGTERM)
        elif self.zygotes.cancel(self.spec.key.framework, f"{self.spec.name}/{replica.name}") or not self.closing:
            # One that the zygote makes just now is told to end as soon as it is there.
            self.replicas.pop(replica.name, None)

    def _on_ready(self, replica: Replica, now_s: float) -> None:
        self.loop.call_later(QUICK_DEATH_S, self._on_settled, replica)
        took_s = now_s - (self._woken_at_s if self._woken_at_s is not None else replica.ordered_at_s)
        sentence = "pool woken" if self._woken_at_s is not None else "replica ready"
        self._woken_at_s = None
        _log.info(sentence, extra=fields(pool=self.spec.name, replica=replica.name, took_s=took_s))

    def _on_settled(self, replica: Replica) -> None:
        # Not as soon as it is ready: a replica that ends at its first request must not be started without a pause.
        if replica.name in self.replicas:
            self._failures = 0

    def _on_end(self, replica: Replica) -> None:
        self.replicas.pop(replica.name, None)
        # What it had in flight ended with it; left in the sum it would keep the pool awake for ever.
        self._activity.note(self.loop.time(), in_flight=self._in_flight(), busy=False)
        if replica.process is None:
            return
        self.loop.call_later(_EXIT_CODE_WAIT_S, self._tell_end, replica)
        if not replica.stopping:
            lived_s = self.loop.time() - replica.process.started_at_s
            self._failures += 1
            self._start_after_s = self.loop.time() + restart_delay_s(self._failures, lived_s)
        self.changed()
        if not self.closing:
            self.tick()

    def _tell_end(self, replica: Replica) -> None:
        if replica.process is None:
            return
        exit_code = replica.process.exit_code
        replica.process.close()
        if replica.stopping:
            _log.debug("replica ended", extra=fields(pool=self.spec.name, replica=replica.name, exit=exit_code))
            return
        self._last_end = f"replica {replica.name} ended by itself ({_how(exit_code)})"
        _log.warning("replica lost", extra=fields(pool=self.spec.name, replica=replica.name, how=_how(exit_code)))

    def _in_flight(self) -> int:
        return sum(replica.in_flight for replica in self.replicas.values())

    def _arm(self) -> None:
        """Wait for a connection that nobody would accept."""
        if self.closing or self._listening_for_wake or any(not replica.stopping for replica in self.replicas.values()):
            return
        self._listening_for_wake = True
        self.loop.add_reader(self.listener, self._wake)

    def _disarm(self) -> None:
        if self._listening_for_wake:
            self._listening_for_wake = False
            self.loop.remove_reader(self.listener)

    def _wake(self) -> None:
        self._disarm()
        self._woken_at_s = self._activity.last_request_at_s = self.loop.time()
        if self.loop.time() >= self._start_after_s:
            self._start()


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "its exit code is not known"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"
