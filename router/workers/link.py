"""A worker's side: tells its supervisor how it is and what it has counted, and asks for all the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry

from router.workers.crew import Obeys, as_text, families_of
from router.workers.sums import Counted, added_up
from router.workers.wire import Message, Wire

__all__ = ["Link"]

_TELL_S: Final = 2.0
_MOST_SHARE: Final = 0.005
"""Of a core, for telling: what a killed worker has counted since it told last is lost."""
_PATIENCE_S: Final = 3.0


class Link:
    """See the module; a `Crew`. `open` it, then tell."""

    def __init__(
        self, fd: int, seats: Sequence[int], registry: CollectorRegistry, about: Callable[[], Mapping[str, Any]]
    ) -> None:
        """`fd` is the wire, `seats` are the other workers' sockets, `about` says of this one what people look for."""
        self._sock = socket.socket(fileno=fd)
        self._seats = {number: socket.socket(fileno=number) for number in seats}
        self._server: Obeys | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._registry = registry
        self._about = about
        self._wire: Wire | None = None
        self._telling: asyncio.Task[None] | None = None
        self._rounds: dict[int, asyncio.Future[Message]] = {}
        self._next = 0
        self._is_closed = False

    async def open(self, server: Obeys) -> None:
        """See `Crew`."""
        self._server = server
        self._wire = await Wire.over(self._sock, self._heard, self._lost)

    def serving(self) -> None:
        """This worker accepts connections."""
        self._send("serving", **self._counted())
        self._telling = asyncio.create_task(self._tell_on(), name="telling the supervisor")

    def stopping(self) -> None:
        """See `Crew`. Nobody's queue may seem to be served by one that is about to end."""
        for sock in self._seats.values():
            sock.close()
        self._seats.clear()
        self._send("stopping")

    async def close(self) -> None:
        """All is answered: the last of what was counted."""
        self._is_closed = True
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling
            self._send("bye", **self._counted())
            if self._wire is not None:
                await self._wire.closed()

    async def metrics(self) -> bytes:
        """See `Crew`. Without an answer of the supervisor, what this worker has counted alone."""
        heard = await self._ask()
        if heard is None:
            return as_text(families_of(self._registry))
        workers = [Counted(said["families"], is_going=said["going"]) for said in heard["workers"]]
        return as_text(added_up(workers, heard["gone"]))

    async def workers(self) -> list[dict[str, Any]]:
        """See `Crew`."""
        heard = await self._ask()
        said = [] if heard is None else heard["workers"]
        return [{"worker": w["worker"], "pid": w["pid"], "draining": w["going"], **w["about"]} for w in said]

    async def _ask(self) -> Message | None:
        self._next += 1
        number = self._next
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._rounds[number] = answer
        self._send("asking", round=number)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await answer
        except TimeoutError:
            logging.getLogger("router.workers").warning("no answer of the supervisor")
            return None
        finally:
            self._rounds.pop(number, None)

    def _counted(self) -> dict[str, Any]:
        return {"families": families_of(self._registry), "about": dict(self._about())}

    def _heard(self, message: Message) -> None:
        server = self._server
        match message["do"]:
            case "tell":
                self._send("counts", round=message["round"], **self._counted())
            case "hear":
                answer = self._rounds.get(message["round"])
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case "retire" if server is not None:
                server.retire()
            case "stop" if server is not None:
                server.stop()
            case "cover" if server is not None and message["seat"] in self._seats:
                number = message["seat"]
                task = asyncio.create_task(server.cover(number, self._seats[number].dup()))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case "uncover" if server is not None:
                server.uncover(message["seat"])

    def _lost(self) -> None:
        self._wire = None
        if self._server is not None and not self._is_closed:
            logging.getLogger("router.workers").warning("the supervisor is gone, stopping")
            self._server.stop()

    async def _tell_on(self) -> None:
        pause_s = _TELL_S
        while True:
            await asyncio.sleep(pause_s)
            began_s = time.thread_time()
            self._send("counts", **self._counted())
            pause_s = max(_TELL_S, (time.thread_time() - began_s) / _MOST_SHARE)

    def _send(self, what: str, **values: Any) -> None:
        if self._wire is not None:
            self._wire.send({"is": what, **values})
