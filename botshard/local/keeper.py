"""The keeper: makes the machine look as the controller's document says, and keeps everything running.

It holds every listening socket, starts router and controller, orders replicas from the zygotes, and writes down what
runs. It decides nothing about bots: which pools there are comes from the controller through `LocalHome`. When it dies
the front starts another one, which finds the sockets with the front and the processes in `processes.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from botshard.local.front_link import FrontLink
from botshard.local.home import LocalHome
from botshard.local.pool import LocalPool, Replica
from botshard.local.processes import STOP_SIGNALS, Process, adopt, start_ticks_of
from botshard.local.program import Program
from botshard.local.records import Notes, Records, read_ports
from botshard.local.roll import Roll
from botshard.local.settings import StackSettings
from botshard.local.zygotes import Zygotes
from botshard.logs import fields
from botshard.notify import parse_notice
from botshard.sharding.errors import CallerError, WorldError
from botshard.sharding.fleet import PoolSpec, PoolStatus
from botshard.sharding.ids import PoolName

__all__ = ["Keeper"]

_log = logging.getLogger(__name__)

_TICK_S = 0.2
_POLL_S = 0.01
_LOOPBACK = "127.0.0.1"
_BACKLOG = 1024
_PID_MEMORY = 1024
"""Ended replicas whose exit code may still arrive."""


class Keeper:
    """One keeper, for as long as its process runs. `environ` is what all children inherit."""

    def __init__(
        self, settings: StackSettings, environ: Mapping[str, str], *, link: FrontLink, home: LocalHome, lifeline: int
    ) -> None:
        self._settings = settings
        self._folder = settings.folder
        self._link = link
        self._home = home
        self._lifeline = lifeline
        self._loop = asyncio.get_running_loop()
        self._environ = {**environ, "NOTIFY_SOCKET": self._folder.notify_address}
        self._zygotes = Zygotes(
            self._loop,
            {**self._environ, **self._logging_of("RUNTIME")},
            keep=link.keep,
            drop=link.drop,
            forked=self._on_forked,
            ended=self._on_replica_exit,
            changed=self._remember,
        )
        self._roll = Roll(settings.folder, start_ticks_of(os.getpid()) or 0, self._zygotes)
        self._pools: dict[PoolName, LocalPool] = {}
        self._programs: list[Program] = []
        self._pids: dict[int, tuple[LocalPool, Replica]] = {}
        self._ports: dict[str, int] = read_ports(self._folder.ports)
        self._notes = Notes()
        self._router_listener: socket.socket | None = None
        self._statuses: list[PoolStatus] = []
        self._home_problems: dict[str, str] = {}
        self._stop = asyncio.Event()
        self._kill = asyncio.Event()
        self._dirty = False

    async def run(self) -> int:
        """Serve until told to stop; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_stop_signal)
        # Held back by whoever started this process, since a Ctrl-C just then must not kill it half begun.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        notices = self._listen_for_notices()
        records = Records.read(self._folder.processes)
        self._adopt_zygotes(records)
        router_socket = self._router_listener = self._router_socket()
        self._write_stack(router_socket)
        self._programs = [self._router(router_socket), self._controller()]
        self._adopt_rest(records)
        for program in self._programs:
            program.start()
        while not self._stop.is_set():
            self._tick()
            if self._roll.step(self._pools.values(), self._programs):
                return self._make_room(notices)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _TICK_S)
        await self._shut_down(router_socket)
        self._loop.remove_reader(notices)
        notices.close()
        return 0

    def _make_room(self, notices: socket.socket) -> int:
        """End, and leave all that runs to another keeper."""
        self._write_records()
        self._loop.remove_reader(notices)
        notices.close()
        self._link.make_room(self._loop)
        return 0

    # ── what is wanted, what is ──────────────────────────────────────────────────────────────────────────────────────

    def _tick(self) -> None:
        for spec in self._wanted_specs() or ():
            pool = self._pools.get(spec.name) or self._make_pool(spec)
            pool.spec = spec
        for pool in list(self._pools.values()):
            pool.tick()
            if pool.closing and not pool.replicas:
                self._remove_pool(pool)
        statuses = [pool.status() for pool in self._pools.values() if not pool.closing]
        if statuses != self._statuses:
            try:
                self._home.write_statuses(statuses)
            except WorldError as error:
                self._tell_home_problem("write", error)
            else:
                self._statuses = statuses
                self._home_problems.pop("write", None)
        if self._dirty:
            self._dirty = False
            self._write_records()
        self._notes.retry()

    def _wanted_specs(self) -> tuple[PoolSpec, ...] | None:
        """The specs to make so; closes the pools that are no longer among them. None: unknown, what there is stays."""
        try:
            specs = self._home.specs()
        except WorldError as error:
            self._tell_home_problem("read", error)
            return None
        self._home_problems.pop("read", None)
        if specs is None:
            return None
        names = {spec.name for spec in specs}
        for name, pool in self._pools.items():
            if name not in names and not pool.closing:
                _log.info("pool removed", extra=fields(pool=name))
                pool.close()
        for framework in sorted({spec.key.framework for spec in specs}):
            self._zygotes.warm(framework)
        return specs

    def _tell_home_problem(self, doing: str, error: WorldError) -> None:
        if str(error) != self._home_problems.get(doing):
            self._home_problems[doing] = str(error)
            _log.error("the stack's own documents cannot be used; pools stay as they are", extra=fields(error=error))

    def _make_pool(self, spec: PoolSpec) -> LocalPool:
        fd_name = f"pool/{spec.name}"
        listener = self._link.take(fd_name)
        if listener is None:
            listener = _listen(self._ports.get(spec.name, 0))
            self._link.keep(fd_name, listener)
        environ = {
            "RUNTIME_POOL": spec.name,
            "RUNTIME_FRAMEWORK": spec.key.framework,
            "RUNTIME_STORE_URL": self._settings.store_url,
            "RUNTIME_CACHE_DIR": str(self._folder.cache),
            "RUNTIME_CACHE_BYTES": str(self._settings.cache_bytes or 0),
            "NOTIFY_SOCKET": self._folder.notify_address,
            **self._logging_of("RUNTIME"),
        }
        pool = LocalPool(
            spec, listener, environ, self._lifeline, self._zygotes, self._loop, lambda: self._remember_process(pool)
        )
        self._pools[spec.name] = pool
        port = listener.getsockname()[1]
        if self._ports.get(spec.name) != port:
            self._ports[spec.name] = port
            self._notes.write(self._folder.ports, self._ports)
        _log.info("pool made", extra=fields(pool=spec.name, url=pool.url))
        return pool

    def _remove_pool(self, pool: LocalPool) -> None:
        self._pools.pop(pool.spec.name, None)
        self._ports.pop(pool.spec.name, None)
        self._notes.write(self._folder.ports, self._ports)
        self._link.drop(f"pool/{pool.spec.name}")
        pool.listener.close()

    # ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _router(self, listener: socket.socket) -> Program:
        environ = {
            **self._environ,
            **self._logging_of("ROUTER"),
            "ROUTER_STORE_URL": self._settings.store_url,
            "ROUTER_LISTEN_FD": str(listener.fileno()),
            "ROUTER_HOST": self._settings.host,
            "ROUTER_GRPC_PORT": str(self._settings.grpc_port),
            # Whoever typed the command has said that it is meant, else the front would not have listened there.
            "ROUTER_OPEN": "true",
            "BOTSHARD_LIFELINE_FD": str(self._lifeline),
        }
        if self._settings.router_workers is not None:
            environ["ROUTER_WORKERS"] = str(self._settings.router_workers)
        fds = [listener.fileno(), self._lifeline]
        return Program("router", "router", environ, fds, self._loop, self._remember)

    def _controller(self) -> Program:
        environ = {
            **self._environ,
            **self._logging_of("SHARDS"),
            "SHARDS_STORE_URL": self._settings.store_url,
            "SHARDS_GROUPS": os.pathsep.join(str(path) for path in self._settings.group_files),
            "SHARDS_HOME": self._folder.home.as_uri(),
            "BOTSHARD_LIFELINE_FD": str(self._lifeline),
        }
        return Program("controller", "shard_controller", environ, [self._lifeline], self._loop, self._remember)

    def _logging_of(self, prefix: str) -> dict[str, str]:
        return {f"{prefix}_LOG_FORMAT": self._settings.log_format, f"{prefix}_LOG_LEVEL": self._settings.log_level}

    def _router_socket(self) -> socket.socket:
        """Bound by the front, so that a port in use is told to whoever typed the command."""
        listener = self._link.take("router")
        if listener is None:
            raise CallerError("the front has not handed over the router's socket")
        return listener

    # ── what children say ────────────────────────────────────────────────────────────────────────────────────────────

    def _listen_for_notices(self) -> socket.socket:
        address = self._folder.notify_address
        if not address.startswith("@"):
            Path(address).unlink(missing_ok=True)
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        notices.bind(address.replace("@", "\0", 1))
        self._loop.add_reader(notices, self._on_notice, notices)
        return notices

    def _on_notice(self, notices: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                notice = parse_notice(notices.recv(4096))
                if notice is None:
                    continue
                found = self._pids.get(notice.pid)
                if found is not None:
                    found[0].notice(found[1], notice)
                    self._dirty = self._dirty or notice.ready is not None
                if notice.ready is not None and any(p.notice(notice.pid, ready=notice.ready) for p in self._programs):
                    self._dirty = True

    def _on_forked(self, token: str, process: Process) -> None:
        pool_name, _, name = token.partition("/")
        pool = self._pools.get(PoolName(pool_name))
        if pool is None:
            process.send(signal.SIGTERM)
            process.close()
            return
        pool.forked(name, process)

    def _on_replica_exit(self, pid: int, exit_code: int) -> None:
        found = self._pids.get(pid)
        if found is not None:
            found[0].exit_code_known(found[1], exit_code)

    # ── what a keeper after this one must know ───────────────────────────────────────────────────────────────────────

    def _remember(self) -> None:
        self._dirty = True

    def _remember_process(self, pool: LocalPool) -> None:
        for replica in pool.replicas.values():
            if replica.process is not None:
                self._pids[replica.process.pid] = (pool, replica)
        ended = [pid for pid, (of, replica) in self._pids.items() if of.replicas.get(replica.name) is not replica]
        for pid in ended[: max(0, len(ended) - _PID_MEMORY)]:
            del self._pids[pid]
        self._write_records()

    def _write_records(self) -> None:
        sources: tuple[Program | LocalPool, ...] = (*self._programs, *self._pools.values())
        processes = [record for source in sources for record in source.records()]
        records = Records(tuple(processes), tuple(self._zygotes.records()))
        self._notes.write(self._folder.processes, records.document())

    def _adopt_zygotes(self, records: Records) -> None:
        for record in records.zygotes:
            channel = self._link.take(record.fd_name)
            if channel is not None and not self._zygotes.adopt(record, channel):
                channel.close()

    def _adopt_rest(self, records: Records) -> None:
        specs = {spec.name: spec for spec in self._wanted_specs() or ()}
        adopted = 0
        for record in records.processes:
            process = adopt(record.pid, record.start_ticks, code_ticks=record.code_ticks)
            if process is None or not process.is_alive:
                continue
            adopted += 1
            for program in self._programs:
                if program.name == record.kind:
                    program.adopt(process, ready=record.ready)
            if record.kind != "replica":
                continue
            spec = specs.get(PoolName(record.pool))
            if spec is None:
                process.send(signal.SIGTERM)
                continue
            pool = self._pools.get(spec.name) or self._make_pool(spec)
            pool.adopt(record.name, process, ready=record.ready)
        self._link.drop_untaken()
        if adopted:
            _log.warning("keeper restarted; what ran goes on", extra=fields(processes=adopted))

    def _write_stack(self, router_socket: socket.socket) -> None:
        host, port = router_socket.getsockname()[:2]
        pids = {"keeperPid": os.getpid(), "frontPid": self._link.front_pid}
        ticks = {"keeperTicks": start_ticks_of(os.getpid())}
        self._notes.write(
            self._folder.stack,
            {
                "url": f"http://{host}:{port}",
                "storeUrl": self._settings.store_url,
                "groupFiles": [str(path) for path in self._settings.group_files],
                **pids,
                **ticks,
            },
        )

    def front_replaced(self) -> None:
        """The front has died and another one is there."""
        if self._router_listener is not None:
            self._write_stack(self._router_listener)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._kill.set()
        self._stop.set()

    async def _shut_down(self, router_socket: socket.socket) -> None:
        """Router first, so that nothing new comes; then the pools, which finish what they have."""
        _log.info("stopping: requests in flight are finished", extra=fields(at_most_s=self._settings.drain_s))
        deadline_s = self._loop.time() + self._settings.drain_s
        for program in self._programs:
            program.stop()
        await self._until(lambda: all(program.has_ended for program in self._programs), deadline_s)
        for pool in self._pools.values():
            pool.close()
        await self._until(lambda: not any(pool.replicas for pool in self._pools.values()), deadline_s)
        self._zygotes.close()
        left = [program.name for program in self._programs if not program.has_ended]
        left += [name for name, pool in self._pools.items() if pool.replicas]
        if left:
            _log.warning("killing what did not end in time", extra=fields(what=", ".join(left)))
            for program in self._programs:
                program.kill()
            for pool in self._pools.values():
                pool.kill()
            await self._until(lambda: not any(pool.replicas for pool in self._pools.values()), self._loop.time() + 2)
        for listener in (router_socket, *(pool.listener for pool in self._pools.values())):
            listener.close()
        shutil.rmtree(self._folder.run, ignore_errors=True)
        _log.info("stopped")
        self._link.bye(self._loop, 0)

    async def _until(self, done: Callable[[], bool], deadline_s: float) -> None:
        while not done() and self._loop.time() < deadline_s and not self._kill.is_set():  # noqa: ASYNC110 - many ends
            await asyncio.sleep(_POLL_S)


def _listen(port: int) -> socket.socket:
    """A listening socket on loopback; on another port where `port`, only a wish, is taken."""
    try:
        listener = socket.create_server((_LOOPBACK, port), backlog=_BACKLOG)
    except OSError:
        listener = socket.create_server((_LOOPBACK, 0), backlog=_BACKLOG)
    listener.setblocking(False)
    return listener
