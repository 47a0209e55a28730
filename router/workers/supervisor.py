"""Keeps a worker on every listening socket: starts it, starts it again, replaces it at a reload, ends all in the end.

The sockets stay here and are inherited, so that no queue of connections is ever lost with a worker. It answers no
request and reads no store.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from botshard.logs import fields
from botshard.sharding.errors import InvalidDocumentError
from router.workers.gathering import Gathering
from router.workers.seats import Member, Seat, restart_delay_s
from router.workers.sums import Family
from router.workers.wire import Message

__all__ = ["EXIT_CRASH_LOOP", "Supervisor"]

EXIT_CRASH_LOOP: Final = 3
"""No worker comes up any more."""
_QUICK_S: Final = 10.0
"""A worker that lives shorter counts as one that came to nothing."""
_LEAST_FAILURES: Final = 5
_AFTER_DRAIN_S: Final = 5.0
"""What a worker that drains has beyond its own patience before it is killed."""
_PASSED_ON: Final = (1, 2)
"""Exit codes of a worker that say why none of them can start."""


class Supervisor:
    """See the module. `run` once."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        environ: Callable[[], Mapping[str, str]],
        drain_timeout_s: float,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        successor_s: float = 60.0,
    ) -> None:
        """Nothing is started until `run`.

        Args:
            sockets: one a worker; the same one, or different ones.
            environ: reads settings (anew); raises InvalidDocumentError where they are wrong.
            drain_timeout_s: what requests in flight have when a worker stops.
            on_ready: called once when all workers serve.
            on_stop: called once when they begin to drain.
            successor_s: within which a successor can route and serves, or the reload is given up.
        """
        self._loop = asyncio.get_running_loop()
        self._log = logging.getLogger("router.workers")
        self._read_environ = environ
        self._environ = environ()
        self._drain_timeout_s = drain_timeout_s
        self._successor_s = successor_s
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._seats = [Seat(number, sock) for number, sock in enumerate(sockets, 1)]
        fds = sorted({sock.fileno() for sock in sockets})
        self._fds = fds if len(fds) == len(sockets) else []
        self._retired: list[Member] = []
        self._starts: dict[str, int] = {"start": 0, "crash": 0, "reload": 0}
        self._reloads: dict[str, int] = {"done": 0, "failed": 0, "refused": 0}
        self._gathering = Gathering(self._members, self._own_families)
        self._reloading: asyncio.Task[None] | None = None
        self._is_reload_wanted = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._was_ready = False
        self._is_stopping = False
        self._exit_code = 0
        self._ended = asyncio.Event()

    async def run(self) -> int:
        """Serve until told to stop, or nothing comes up; the exit code."""
        handlers = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
            signal.SIGCHLD: self._look_at_all,
        }
        for number, handler in handlers.items():
            self._loop.add_signal_handler(number, handler)
        try:
            for seat in self._seats:
                await self._start(seat, "start")
            await self._ended.wait()
        finally:
            for member in self._members():
                member.kill()
            for number in handlers:
                self._loop.remove_signal_handler(number)
        return self._exit_code

    def stop(self) -> None:
        """Let every worker answer what it has, then end; told twice: end now."""
        if self._is_stopping:
            for member in self._members():
                member.kill()
            return
        self._is_stopping = True
        self._log.info("workers stop", extra=fields(workers=len(list(self._members()))))
        self._on_stop()
        if self._reloading is not None:
            self._reloading.cancel()
        for seat in self._seats:
            if seat.restart is not None:
                seat.restart.cancel()
        for member in self._members():
            if not member.is_going:
                member.stop()
        self._loop.call_later(self._drain_timeout_s + _AFTER_DRAIN_S, self._kill_all)
        self._check_ended()

    def reload(self) -> None:
        """Replace every worker by one that runs the code and the settings of now, one after the other."""
        if self._is_stopping:
            return
        if self._reloading is not None or not self._was_ready:
            self._is_reload_wanted = True  # what has changed since must not be missed
            return
        self._reloading = self._loop.create_task(self._reload(), name="reload")
        self._reloading.add_done_callback(self._reloaded)

    # ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _members(self) -> Iterator[Member]:
        for seat in self._seats:
            yield from (member for member in (seat.member, seat.successor) if member is not None)
        yield from list(self._retired)

    async def _start(self, seat: Seat, why: str) -> None:
        seat.restart = None
        if self._is_stopping:
            return
        self._starts[why] += 1
        seat.member = self._spawn(seat, is_successor=False)
        if seat.member is None:
            self._start_again(seat, lived_s=0.0)
        else:
            await seat.member.connect(heard=self._heard, gone=self._gone)

    def _spawn(self, seat: Seat, *, is_successor: bool) -> Member | None:
        try:
            # It must not know less than the one before; where that knows nothing, there is nothing to wait for.
            waits = is_successor and seat.member is not None and bool(seat.member.about.get("ready"))
            return Member(seat, self._environ, others=self._fds, is_successor=waits)
        except OSError as error:
            self._log.error("a worker cannot be started", extra=fields(worker=seat.number, why=str(error)))
            return None

    def _heard(self, member: Member, message: Message) -> None:
        match message["is"]:
            case "serving":
                self._gathering.take(member, message)
                member.serves.set()
                self._uncover(member.seat)
                self._tell_ready()
            case "stopping":
                self._goes(member)
            case "counts":
                self._gathering.take(member, message)
            case "bye":
                self._gathering.take(member, message)
                member.hang_up()
            case "asking":
                self._gathering.begin(member, message["round"])

    def _tell_ready(self) -> None:
        if not self._was_ready and all(seat.is_served for seat in self._seats):
            self._was_ready = True
            self._log.info("all workers serve", extra=fields(workers=len(self._seats)))
            self._on_ready()
            self._reload_if_wanted()

    def _goes(self, member: Member) -> None:
        """It drains. Where nobody here has told it to, somebody did by hand: its place is taken at once."""
        was_told, member.is_going = member.is_going, True
        if was_told or member.seat.member is not member:
            return
        member.seat.member = None
        self._retired.append(member)
        self._cover_all()
        self._start_again(member.seat, lived_s=_QUICK_S)

    def _look_at_all(self) -> None:
        for member in list(self._members()):
            member.look()

    def _gone(self, member: Member) -> None:
        self._gathering.gone(member)
        seat = member.seat
        if member in self._retired:
            self._retired.remove(member)
        elif seat.successor is member:
            seat.successor = None
        elif seat.member is member:
            seat.member = None
            self._cover_all()
            if not self._is_stopping:
                self._lost(member)
        self._check_ended()

    def _lost(self, member: Member) -> None:
        lived_s = time.monotonic() - member.started_s
        if not self._was_ready and member.exit_code in _PASSED_ON:
            self._give_up(member.exit_code or 1)
            return
        self._start_again(member.seat, lived_s=lived_s, exit_code=member.exit_code)

    def _start_again(self, seat: Seat, *, lived_s: float, exit_code: int | None = None) -> None:
        seat.failures = 0 if lived_s >= _QUICK_S else seat.failures + 1
        failures = sum(found.failures for found in self._seats)
        delay_s = restart_delay_s(seat.failures)
        event = fields(worker=seat.number, exit=exit_code, lived_s=round(lived_s, 1), again_in_s=delay_s)
        self._log.warning("worker lost" if exit_code is not None else "worker goes", extra=event)
        nobody_serves = not any(found.is_served for found in self._seats)
        if nobody_serves and failures >= max(_LEAST_FAILURES, 2 * len(self._seats)):
            self._log.error("no worker comes up, giving up", extra=fields(starts=failures))
            self._give_up(EXIT_CRASH_LOOP)
            return
        seat.restart = self._loop.call_later(delay_s, self._in_task, seat)

    def _in_task(self, seat: Seat) -> None:
        task = self._loop.create_task(self._start(seat, "crash"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _give_up(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self.stop()

    def _kill_all(self) -> None:
        for member in self._members():
            self._log.warning("killing a worker that does not end", extra=fields(pid=member.pid))
            member.kill()

    def _check_ended(self) -> None:
        if self._is_stopping and not any(True for _ in self._members()):
            self._ended.set()

    def _cover_all(self) -> None:
        """Have somebody accept for those seats that nobody serves: what waits there may wait long."""
        if self._is_stopping or not self._was_ready or not self._fds:
            return
        able = [seat.member for seat in self._seats if seat.is_served and seat.member and not seat.member.is_going]
        for seat in self._seats:
            if seat.is_served or (seat.cover is not None and seat.cover in able):
                continue
            seat.cover = next(iter(able), None)
            if seat.cover is not None:
                seat.cover.tell({"do": "cover", "seat": seat.socket.fileno()})

    def _uncover(self, seat: Seat) -> None:
        if seat.cover is not None:
            seat.cover.tell({"do": "uncover", "seat": seat.socket.fileno()})
            seat.cover = None

    # ── reload ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _reload(self) -> None:
        before = self._environ
        try:
            self._environ = self._read_environ()
        except InvalidDocumentError as error:
            self._reloads["refused"] += 1
            for problem in error.problems:
                event = fields(document=error.document, problem=str(problem))
                self._log.error("setting refused, nothing is reloaded", extra=event)
            return
        self._log.info("reload begins", extra=fields(workers=len(self._seats)))
        began_s = time.monotonic()
        for seat in self._seats:
            if seat.is_served and not await self._replace(seat):
                self._reloads["failed"] += 1
                self._environ = before
                return
        self._reloads["done"] += 1
        self._log.info("reload done", extra=fields(took_s=round(time.monotonic() - began_s, 3)))

    def _reloaded(self, task: asyncio.Task[None]) -> None:
        self._reloading = None
        if not task.cancelled():
            task.result()
        self._reload_if_wanted()

    def _reload_if_wanted(self) -> None:
        if self._is_reload_wanted:
            self._is_reload_wanted = False
            self.reload()

    async def _replace(self, seat: Seat) -> bool:
        """Have another worker serve a seat; whether it does. One that does not come up replaces nothing."""
        self._starts["reload"] += 1
        successor = seat.successor = self._spawn(seat, is_successor=True)
        if successor is None:
            return False
        await successor.connect(heard=self._heard, gone=self._gone)
        serving = self._loop.create_task(successor.serves.wait())
        over = self._loop.create_task(successor.over.wait())
        try:
            await asyncio.wait((serving, over), timeout=self._successor_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
            over.cancel()
        if successor.over.is_set() or not successor.serves.is_set():
            successor.kill()
            event = fields(worker=seat.number, exit=successor.exit_code)
            self._log.error("a successor did not come up, the one before goes on", extra=event)
            return False
        before, seat.member, seat.successor, seat.failures = seat.member, successor, None, 0
        if seat.restart is not None:  # the one before has crashed meanwhile
            seat.restart.cancel()
            seat.restart = None
        if before is not None:
            self._retired.append(before)
            before.retire()
            self._cover_all()
            self._loop.call_later(self._drain_timeout_s + _AFTER_DRAIN_S, self._end_retired, before)
        return True

    def _end_retired(self, member: Member) -> None:
        if member in self._retired:
            member.kill()

    # ── what it has counted itself ────────────────────────────────────────────────────────────────────────────────────

    def _own_families(self) -> list[Family]:
        serving = sum(seat.is_served for seat in self._seats)

        def counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Family:
            samples = [(f"{name}_total", {label: key}, float(value)) for key, value in values.items()]
            return Family(name=name, text=text, type="counter", samples=samples)

        return [
            Family(
                name="botshard_router_workers",
                text="Workers by what they do",
                type="gauge",
                samples=[
                    ("botshard_router_workers", {"state": "serving"}, float(serving)),
                    ("botshard_router_workers", {"state": "draining"}, float(len(self._retired))),
                ],
            ),
            counter("botshard_router_worker_starts", "Workers started", "reason", self._starts),
            counter("botshard_router_reloads", "Reloads", "result", self._reloads),
        ]
