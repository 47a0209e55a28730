"""How each design is started, broken and rolled out."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

import orjson

from benchmarks.pool_bots import infer_request
from benchmarks.pool_subjects import ask_once, free_port
from benchmarks.stack_costs import StackProcesses
from botshard.bots.publish import publish
from botshard.local.processes import start_ticks_of
from botshard.local.stack_process import StackProcess
from botshard.sharding.fleet import PoolPhase
from botshard.store.base import ObjectStore
from botshard.store.files import FileStore
from botshard.store.urls import open_store
from loadtests.asking.exchanges import version_of
from loadtests.baselines.bots import QUESTION, ComparedBot
from loadtests.baselines.servers import Server, Start
from loadtests.errors import LoadTestError

__all__ = ["Design", "OneProcess", "ProcessEach", "Sharded", "stopping"]

T = TypeVar("T")

_READY_S = 180.0
_POLL_S = 0.02

_GROUP = """\
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {{name: realtime}}
spec:
  class: realtime
  replicas: {{min: 1, max: 1}}
  shardReplicas: {copies}
  pool: {{memory: 4Gi, bots: {bots_per_pool}}}
  timeouts: {{request: 10s, coldStart: 60s}}
"""
_POOLS = 4


class Design(Protocol):
    """One way to serve the bots, while it runs."""

    @property
    def processes(self) -> int:
        """That serve models."""
        ...

    def url(self, bot: int, /) -> str:
        """Where it is asked."""
        ...

    def pss_bytes(self) -> int:
        """Memory of all that it needs, pages that several of its processes map counted once."""
        ...

    def kill(self) -> None:
        """`kill -9` of one process, always the same one, if it serves now; it is started again at once."""
        ...

    def roll_out(self, bots: Sequence[int], /) -> None:
        """Bring the second version of some bots; returns when each answers by it."""
        ...

    def wait(self) -> None:
        """Until every bot answers."""
        ...

    def stop(self) -> None:
        """All of it."""
        ...


class ProcessEach:
    """A process a bot. For a new version of a bot that its server cannot take up, a new process takes its place."""

    def __init__(self, folder: Path, bots: Sequence[ComparedBot], start: Start) -> None:
        self._folder, self._bots, self._start = folder, bots, start
        self._ports = [free_port() for _ in bots]
        self._servers = [
            start(self._make(f"{bot.id}.1"), [bot], port, folder / f"{bot.id}.1.txt")
            for bot, port in zip(bots, self._ports, strict=True)
        ]

    @property
    def processes(self) -> int:
        """One a bot."""
        return len(self._servers)

    def url(self, bot: int, /) -> str:
        """Each has its own."""
        return f"http://127.0.0.1:{self._ports[bot]}"

    def pss_bytes(self) -> int:
        """Of all processes."""
        return sum(server.pss_bytes() for server in self._servers)

    def kill(self) -> None:
        """The first one."""
        _kill(self._servers[0], self._ports[0])

    def roll_out(self, bots: Sequence[int], /) -> None:
        """All at the same time."""
        before = {}
        for index in bots:
            bot, server = self._bots[index], self._servers[index]
            if server.store is not None:
                _publish(FileStore(server.store), [bot])
                continue
            before[index] = server
            self._ports[index] = free_port()
            second = ComparedBot(bot.id, bot.folders[1:], bot.answers[1:])
            log = self._folder / f"{bot.id}.2.txt"
            self._servers[index] = self._start(self._make(f"{bot.id}.2"), [second], self._ports[index], log)
        for index in bots:
            wait_for_version(self, self._bots, index, 2, self._servers[index])
        for server in before.values():
            server.stop()

    def wait(self) -> None:
        """Until every bot answers."""
        for index, server in enumerate(self._servers):
            wait_for_version(self, self._bots, index, 1, server)

    def stop(self) -> None:
        """All of it."""
        for server in self._servers:
            server.stop()

    def _make(self, name: str) -> Path:
        return self._folder / name


class OneProcess:
    """One process for all bots. Where it takes up no new version, one beside it takes its place."""

    def __init__(self, folder: Path, bots: Sequence[ComparedBot], start: Start) -> None:
        self._folder, self._bots, self._start = folder, bots, start
        self._port = free_port()
        self._server = start(folder / "1", bots, self._port, folder / "1.txt")

    @property
    def processes(self) -> int:
        """The one."""
        return 1

    def url(self, bot: int, /) -> str:  # noqa: ARG002 - as every design
        """The same for all."""
        return f"http://127.0.0.1:{self._port}"

    def pss_bytes(self) -> int:
        """Of the process."""
        return self._server.pss_bytes()

    def kill(self) -> None:
        """The one."""
        _kill(self._server, self._port)

    def roll_out(self, bots: Sequence[int], /) -> None:
        """All with the new versions of some."""
        if self._server.store is not None:
            _publish(FileStore(self._server.store), [self._bots[index] for index in bots])
        else:
            chosen = set(bots)
            served = [
                ComparedBot(bot.id, bot.folders[index in chosen :], bot.answers[index in chosen :])
                for index, bot in enumerate(self._bots)
            ]
            before, self._port = self._server, free_port()
            name = f"{len(bots)}.2"
            self._server = self._start(self._folder / name, served, self._port, self._folder / f"{name}.txt")
            wait_for_version(self, self._bots, bots[-1], 2, self._server)
            before.stop()
        for index in bots:
            wait_for_version(self, self._bots, index, 2, self._server)

    def wait(self) -> None:
        """Until every bot answers."""
        for index in range(len(self._bots)):
            wait_for_version(self, self._bots, index, 1, self._server)

    def stop(self) -> None:
        """All of it."""
        self._server.stop()


class Sharded:
    """Bot sharding: a local stack with some pools."""

    def __init__(self, folder: Path, bots: Sequence[ComparedBot], *, copies: int) -> None:
        self._bots = bots
        folder.mkdir(parents=True, exist_ok=True)
        groups = folder / "groups.yaml"
        bound = max(1, len(bots) * copies * 6 // (5 * _POOLS))
        groups.write_text(_GROUP.format(copies=copies, bots_per_pool=bound))
        environ = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._stack = StackProcess(folder / "stack", groups=groups, environ=environ, log=folder / "log.txt")
        self._store: ObjectStore = open_store(self._stack.store_url, environ)
        publish(self._store, [bot.folders[0] for bot in bots], now_s=int(time.time()))
        self._url = ""
        self._victim = ""

    def start(self) -> None:
        """The stack; its bots are published before."""
        self._stack.start(["--log-format", "json"])
        self._url = self._stack.wait_until_serving(within_s=_READY_S)

    @property
    def processes(self) -> int:
        """Replicas of its pools."""
        return len(self._replicas())

    def url(self, bot: int, /) -> str:  # noqa: ARG002 - as every design
        """The router's."""
        return self._url

    def pss_bytes(self) -> int:
        """Of the whole stack: router, controller, keeper, zygotes, replicas."""
        return sum(StackProcesses.of(self._stack).memory_bytes().values())

    def kill(self) -> None:
        """A pool's replica; the keeper starts another one."""
        replicas = self._replicas()
        self._victim = self._victim or next(iter(replicas.values()))
        for pid, pool in replicas.items():
            if pool == self._victim and start_ticks_of(pid) is not None:
                os.kill(pid, signal.SIGKILL)

    def roll_out(self, bots: Sequence[int], /) -> None:
        """Published, as always."""
        _publish(self._store, [self._bots[index] for index in bots])
        for index in bots:
            wait_for_version(self, self._bots, index, 2, None)

    def wait(self) -> None:
        """Until every bot answers, and every pool is ready."""
        _wait_until(
            lambda: (
                all(status.phase is PoolPhase.READY for status in self._stack.statuses().values())
                and bool(self._stack.statuses())
            ),
            "all pools are ready",
            self._stack.log_tail,
        )
        for index in range(len(self._bots)):
            wait_for_version(self, self._bots, index, 1, None)

    def stop(self) -> None:
        """All of it."""
        self._stack.stop()
        self._store.close()

    def _replicas(self) -> dict[int, str]:
        """Their pools, by pid."""
        records = self._stack.records()["processes"]
        return {record["pid"]: record["pool"] for record in records if record["kind"] == "replica"}


@contextmanager
def stopping(design: Design) -> Iterator[None]:
    """Ends it, whatever happens."""
    with ExitStack() as stack:
        stack.callback(design.stop)
        yield


def wait_for_version(
    design: Design, bots: Sequence[ComparedBot], index: int, version: int, server: Server | None
) -> None:
    """Until a bot answers by a version. Raises: LoadTestError."""
    bot = bots[index]
    request = infer_request(bot.id, QUESTION.encode())

    def answers() -> bool:
        if server is not None and server.has_ended:
            raise LoadTestError(f"the server of {bot.id} has ended: {server.said()}")
        port = int(design.url(index).rsplit(":", 1)[1])
        body = ask_once(port, request)
        return body is not None and version_of(orjson.loads(body)["outputs"][0]["data"], bot.answers) == version

    _wait_until(answers, f"{bot.id} answers by version {version}", lambda: "" if server is None else server.said())


def _wait_until(is_so: Callable[[], bool], what: str, said: Callable[[], str]) -> None:
    deadline_s = time.monotonic() + _READY_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise LoadTestError(f"not within {_READY_S:g} s: {what}: {said()}")
        time.sleep(_POLL_S)


def _kill(server: Server, port: int) -> None:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        server.kill()
        server.start()


def _publish(store: ObjectStore, bots: Sequence[ComparedBot]) -> None:
    """Their second versions."""
    results = publish(store, [bot.folders[1] for bot in bots], now_s=int(time.time()))
    if any(result.problems for result in results):
        raise LoadTestError("a second version was refused")
