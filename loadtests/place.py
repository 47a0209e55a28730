"""Where load goes: a local stack that is made for it and goes with it, or an address where something runs already."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from botshard.bots.publish import publish
from botshard.local.front import StackError
from botshard.local.stack_process import StackProcess
from botshard.sharding.fleet import PoolPhase
from botshard.sharding.ids import GroupName
from botshard.sharding.residency import Residency
from botshard.store.base import ObjectStore
from botshard.store.reports import read_reports
from botshard.store.table import TableStore
from botshard.store.urls import open_store
from loadtests.errors import LoadTestError
from loadtests.fleet import QUESTION, REALTIME, Fleet, FleetBot, write_bots

__all__ = ["Place", "local_place", "publish_fleet", "remote_place", "roll", "say"]

_GROUPS = """\
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {{name: realtime}}
spec:
  class: realtime
  replicas: {{min: 1, max: 2}}
  pool: {{bots: {bots_per_pool}}}
  timeouts: {{request: 10s, coldStart: 30s}}
---
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {{name: non-realtime}}
spec:
  class: non-realtime
  replicas: {{min: 0, max: 2}}
  pool: {{bots: {bots_per_pool}}}
  timeouts: {{request: 10s, coldStart: 30s, idle: {idle}}}
"""
_POOLS_A_FAMILY = 2
_SOON, _LATE = "3s", "30s"
"""After which a non-realtime pool without requests goes to zero."""
_START_S = 120.0
_POLL_S = 0.1
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where bots are asked."""

    url: str
    grpc: str
    """`host:port`; empty: nobody is asked over gRPC."""
    store: ObjectStore | None = None
    """Where new versions are published; None: nobody said."""
    stack: StackProcess | None = None
    """The local stack; None: it is somewhere else."""


def say(text: str) -> None:
    """A line about how far it is, to standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def publish_fleet(store: ObjectStore, folder: Path, bots: tuple[FleetBot, ...], *, version: int = 1) -> None:
    """A version of these bots, whose folders are made below `folder` and removed again."""
    folders = write_bots(folder, bots, version=version)
    try:
        results = publish(store, folders, now_s=int(time.time()))
    finally:
        shutil.rmtree(folder)
    problems = [str(problem) for result in results for problem in result.problems]
    if problems:
        raise LoadTestError(f"the bots were refused: {problems[0]}")


@contextmanager
def local_place(
    folder: Path, fleet: Fleet, *, is_asleep: bool, environ: Mapping[str, str] = os.environ
) -> Iterator[Place]:
    """A stack that serves the fleet for as long as this context lasts; no process of it is left.

    Args:
        folder: for its store, logs and the rest.
        fleet: what it serves.
        is_asleep: wait until every pool has gone to zero.
        environ: of its processes.
    """
    environ = {**environ, "OMP_NUM_THREADS": "1", "SHARDS_GRACE_S": "2"}
    groups = folder / "groups.yaml"
    largest = max(fleet.of_group(group) for group in set(fleet.groups))
    # A little room, so that an uneven hash does not make a pool more.
    bound = max(1, largest * 6 // (5 * _POOLS_A_FAMILY))
    groups.write_text(_GROUPS.format(bots_per_pool=bound, idle=_SOON if is_asleep else _LATE))
    stack = StackProcess(folder / "stack", groups=groups, environ=environ, log=folder / "log.txt")
    store = open_store(stack.store_url, environ)
    say(f"publishing {len(fleet.bots):,} bots")
    publish_fleet(store, folder / "bots", fleet.bots)
    say("starting a stack")
    try:
        rpc_port = _free_port()
        stack.start(["--log-format", "json", "--grpc-port", str(rpc_port)])
        url = stack.wait_until_serving(within_s=_START_S)
        _wait_until(lambda: _is_warm(stack, store, fleet), stack, "every realtime bot is in memory")
        if is_asleep:
            # One has been awake, so that what is measured is a morning and not the start of a stack.
            _wait_until(lambda: _is_answered(url, fleet.bots[0]), stack, f"{fleet.bots[0].id} answers")
            _wait_until(lambda: _all_asleep(stack), stack, "every pool is at zero")
        yield Place(url, f"127.0.0.1:{rpc_port}", store, stack)
    except StackError as error:
        raise LoadTestError(str(error)) from error
    finally:
        stack.stop()
        store.close()


@contextmanager
def remote_place(
    url: str, fleet: Fleet, *, grpc: str, store_url: str | None, headers: Mapping[str, str], environ: Mapping[str, str]
) -> Iterator[Place]:
    """Something that runs already, once it is known to have the fleet. Raises: LoadTestError."""
    there = _bots_at(url, headers)
    missing = [bot.id for bot in fleet.bots if bot.id not in there]
    if missing:
        known = len(fleet.bots) - len(missing)
        raise LoadTestError(
            f"{url} has {known:,} of the {len(fleet.bots):,} bots of the load ({missing[0]} is missing): publish them "
            f"to its store by `python -m loadtests publish SCENARIO --store URL --bots {len(fleet.bots)}`, "
            "or ask fewer by --bots"
        )
    store = open_store(store_url, environ) if store_url else None
    try:
        yield Place(url, grpc, store)
    finally:
        if store is not None:
            store.close()


def roll(stack: StackProcess) -> None:
    """Replace all that runs, as an operator does. Raises: LoadTestError."""
    command = [sys.executable, "-m", "botshard.cli", "roll", str(stack.folder.path), "--wait-s", "120"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=stack.environ)
    if done.returncode:
        raise LoadTestError(f"botshard roll ended with {done.returncode}: {done.stdout}{done.stderr}")


def _bots_at(url: str, headers: Mapping[str, str]) -> set[str]:
    """Ids of the bots of a router. Raises: LoadTestError where there is none, or it does not say."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LoadTestError(f"{url!r} is no address of a router; it is written http://host:port")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/v2/models", headers=dict(headers))
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise LoadTestError(f"nothing answers at {url}: {error}") from error
    finally:
        connection.close()
    with suppress(ValueError, KeyError, TypeError):
        if response.status == http.HTTPStatus.OK:
            return {model if isinstance(model, str) else model["name"] for model in json.loads(body)["models"]}
    raise LoadTestError(
        f"GET {url}/v2/models was answered with {response.status} {body[:200].decode(errors='replace')}"
    )


def _is_warm(stack: StackProcess, store: ObjectStore, fleet: Fleet) -> bool:
    """Whether every family is placed, and every realtime bot is in memory."""
    found = TableStore(store).read()
    if found is None or {route.group for route in found[0].pools.values()} != set(map(GroupName, fleet.groups)):
        return False
    if any(family.targets for family in found[0].families.values()):
        return False
    if any(status.phase not in (PoolPhase.READY, PoolPhase.ASLEEP) for status in stack.statuses().values()):
        return False
    resident = {
        bot for report in read_reports(store)[0] for bot, one in report.bots.items() if one.state is Residency.RESIDENT
    }
    return all(bot.id in resident for bot in fleet.bots if bot.group == REALTIME)


def _is_answered(url: str, bot: FleetBot) -> bool:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_START_S)
    try:
        connection.request("POST", f"/v2/models/{bot.id}/infer", QUESTION)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _all_asleep(stack: StackProcess) -> bool:
    statuses = stack.statuses().values()
    return bool(statuses) and all(status.phase is PoolPhase.ASLEEP for status in statuses)


def _wait_until(is_so: Callable[[], bool], stack: StackProcess, what: str) -> None:
    deadline_s = time.monotonic() + _START_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise LoadTestError(f"not within {_START_S:g} s: {what}; the end of the stack's log:\n{stack.log_tail()}")
        time.sleep(_POLL_S)
