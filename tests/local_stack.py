"""A whole local stack for tests: `botshard up` as a process of its own, in a folder of its own, on a free port."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from botshard.bots.publish import PublishResult, publish
from botshard.bots.template import TemplateFramework, TemplateKind, write_template
from botshard.local.processes import start_ticks_of
from botshard.local.stack_process import StackProcess
from botshard.oip.client import encode_request
from botshard.oip.tensors import Tensor
from botshard.sharding.routing import RoutingTable
from botshard.store.base import ObjectStore
from botshard.store.table import TableStore
from botshard.store.urls import open_store
from tests.waiting import eventually

__all__ = ["Answer", "Load", "LocalStack", "ask", "write_bots"]

GROUPS = """
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: realtime}
spec: {class: realtime, replicas: {min: 2, max: 3}, timeouts: {request: 5s}}
---
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: non-realtime}
spec: {class: non-realtime, replicas: {max: 2}, timeouts: {request: 10s, coldStart: 20s, idle: 2s}}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to one request."""

    status: int
    body: Any
    headers: dict[str, str]
    took_s: float

    @property
    def label(self) -> str:
        """The label that the bot gave."""
        outputs = {output["name"]: output for output in self.body["outputs"]}
        return str(outputs["label"]["data"][0])


def ask(url: str, bot: str, text: str = "good morning", *, timeout_s: float = 20.0) -> Answer:
    """Ask a text bot over a connection of its own.

    Raises: OSError, http.client.HTTPException.
    """
    body = encode_request([Tensor("text", "BYTES", (1, 1), [text.encode()])]).body
    address = urlsplit(url).netloc
    started_s = time.monotonic()
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("POST", f"/v2/models/{bot}/infer", body)
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, json.loads(data), headers, time.monotonic() - started_s)


def write_bots(folder: Path, names: Iterable[str], *, group: str = "realtime") -> list[Path]:
    """Bot folders made from the template, one a name."""
    folders = []
    for name in names:
        path = folder / name
        write_template(path, framework=TemplateFramework.TORCH, kind=TemplateKind.TEXT)
        bot_yaml = path / "bot.yaml"
        lines = [
            f"poolGroup: {group}" if line.startswith("poolGroup:") else line
            for line in bot_yaml.read_text().splitlines()
        ]
        bot_yaml.write_text("\n".join(lines) + "\n")
        folders.append(path)
    return folders


class LocalStack(StackProcess):
    """One stack; leaving its context stops it and fails if anything is left behind."""

    def __init__(
        self,
        folder: Path,
        *,
        groups: str = GROUPS,
        store_url: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        groups_file = folder / "groups.yaml"
        groups_file.write_text(groups)
        log = folder / "log.txt"
        super().__init__(folder / "stack", groups=groups_file, store_url=store_url, environ=environ, log=log)
        self.store: ObjectStore = open_store(self.store_url, environ)

    def start(self, arguments: Sequence[str] = ()) -> None:
        """Start it and wait until the router serves."""
        super().start(arguments)
        self.wait_until_serving(within_s=30)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it, and check that no process and no temporary file is left."""
        pids = self.pids()
        super().stop(number)
        eventually(lambda: not [pid for pid in pids if start_ticks_of(pid) == pids[pid]], within_s=10.0)
        left = {path.name for path in self.folder.path.iterdir()}
        assert left <= {"cache", "ports.json", "store"}, left

    def kill_everything(self) -> None:
        """End all of it at once, as a power cut does."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.forget()

    def pids(self) -> dict[int, int]:
        """Start time by pid, of every process of the stack."""
        if not self.folder.stack.exists():
            return {}
        records = self.records()
        pids = [int(self.stack()["keeperPid"]), int(self.stack()["frontPid"])]
        pids += [int(record["pid"]) for record in records["processes"] + records["zygotes"]]
        return {pid: ticks for pid in pids if (ticks := start_ticks_of(pid)) is not None}

    def publish(self, folders: Iterable[Path]) -> list[PublishResult]:
        """Publish bot folders."""
        results = publish(self.store, folders, now_s=int(time.time()))
        assert not [problem for result in results for problem in result.problems]
        return results

    def table(self) -> RoutingTable:
        """As published."""
        found = TableStore(self.store).read()
        assert found is not None
        return found[0]

    def is_settled(self, *, pools: int) -> bool:
        """Whether the one family there is has so many pools, and no shard is on its way or lingers."""
        table = self.table()
        (family,) = table.families.values()
        return len(table.pools) == pools and not family.targets and not family.lingering

    def wait_for(self, bot: str, *, within_s: float = 60.0) -> Answer:
        """The first good answer of a bot."""

        def answer() -> Answer | None:
            found = ask(self.url, bot)
            return found if found.status == 200 else None

        found = eventually(answer, within_s=within_s)
        assert found is not None
        return found


@dataclass
class Load:
    """Steady requests to some bots until it is stopped; every failure is kept with its moment."""

    stack: LocalStack
    bots: list[str]
    rate_per_s: float = 50.0
    answered: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Send within this context; leaving it waits for the last answers."""
        url = self.stack.url
        with ThreadPoolExecutor(32) as workers:
            sender = threading.Thread(target=self._send, args=(url, workers))
            sender.start()
            try:
                yield self
            finally:
                self._stop.set()
                sender.join()

    def _send(self, url: str, workers: ThreadPoolExecutor) -> None:
        started_s = time.monotonic()
        sent = 0
        while not self._stop.is_set():
            workers.submit(self._ask, url, self.bots[sent % len(self.bots)])
            sent += 1
            self._stop.wait(max(0.0, started_s + sent / self.rate_per_s - time.monotonic()))

    def _ask(self, url: str, bot: str) -> None:
        try:
            answer = ask(url, bot)
            problem = "" if answer.status == 200 and answer.label == "greeting" else f"{answer.status} {answer.body}"
        except (OSError, http.client.HTTPException) as error:
            problem = repr(error)
        if problem:
            self.failures.append((time.monotonic(), f"{bot}: {problem}"))
        self.answered += 1
