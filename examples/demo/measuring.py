"""Memory: of the stack's processes as they are, and of one process that serves one bot, which is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from botshard.bots.backbones import publish_backbone
from botshard.bots.publish import publish
from botshard.local.settings import StackFolder
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import Epoch, Framework, GroupName
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.sharding.units import KIBIBYTE
from botshard.store.table import TableStore
from botshard.store.urls import open_store
from examples.backbone import encoder_folder
from examples.demo.stack import wait_until
from examples.training import TrainedBot

__all__ = ["StackMemory", "measure_one_process_a_bot", "measure_stack", "proportional_bytes"]


@dataclass(frozen=True, slots=True)
class StackMemory:
    """Proportional set sizes, in bytes: pages that n processes share count 1/n for each."""

    programs_bytes: int
    """Front, keeper, router, controller."""
    zygotes_bytes: int
    replicas_bytes: Mapping[str, int]
    """By pool."""

    @property
    def total_bytes(self) -> int:
        """Of all processes."""
        return self.programs_bytes + self.zygotes_bytes + sum(self.replicas_bytes.values())


def proportional_bytes(pid: int) -> int:
    """Proportional set size of a process; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * KIBIBYTE for line in lines if line.startswith("Pss:")), 0)


def measure_stack(folder: StackFolder) -> StackMemory:
    """What the stack's processes take now."""
    records = json.loads(folder.processes.read_bytes())
    stack = json.loads(folder.stack.read_bytes())
    programs = [stack["frontPid"], stack["keeperPid"]]
    programs += [record["pid"] for record in records["processes"] if record["kind"] != "replica"]
    replicas: dict[str, int] = {}
    for record in records["processes"]:
        if record["kind"] == "replica":
            replicas[record["pool"]] = replicas.get(record["pool"], 0) + proportional_bytes(record["pid"])
    return StackMemory(
        sum(map(proportional_bytes, programs)),
        sum(proportional_bytes(record["pid"]) for record in records["zygotes"]),
        replicas,
    )


def measure_one_process_a_bot(folder: Path, bot: TrainedBot, environ: Mapping[str, str]) -> int:
    """Bytes of a server process of its own for one bot, after it has loaded it: what a web service a bot costs."""
    url = (folder / "store").as_uri()
    store = open_store(url, environ)
    if bot.plan.backbone is not None:
        publish_backbone(store, bot.plan.backbone, encoder_folder(bot.plan.backbone), now_s=int(time.time()))
    publish(store, [bot.folder], now_s=int(time.time()))
    key = FamilyKey(GroupName(bot.plan.group), Framework(bot.plan.framework), bot.plan.backbone)
    family = family_id(key)
    pool = pool_name(key.group, family, 0)
    routes = FamilyRoutes(family, key, 0, {pool: "http://127.0.0.1:1"}, ((pool,),))
    groups = {key.group: GroupRoute(realtime=True, request_timeout_s=10.0, cold_start_timeout_s=30.0)}
    TableStore(store).publish(RoutingTable(Epoch(1), groups, {family: routes}), previous_etag=None)
    settings = {
        "RUNTIME_POOL": pool,
        "RUNTIME_REPLICA": "alone",
        "RUNTIME_FRAMEWORK": bot.plan.framework,
        "RUNTIME_STORE_URL": url,
        "RUNTIME_CACHE_DIR": str(folder / "cache"),
        "RUNTIME_HTTP_PORT": "0",
        "RUNTIME_LOG_LEVEL": "ERROR",
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "kserve_runtimes"], env={**environ, **settings}, stderr=subprocess.DEVNULL
    ) as process:
        try:
            reports = folder / "store" / "reports" / pool / "alone.json"
            wait_until(lambda: _is_ready(reports, process), f"the start of one {bot.plan.framework} bot", within_s=60)
            return proportional_bytes(process.pid)
        finally:
            process.terminate()


def _is_ready(report: Path, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"a server for one bot ended with exit code {process.returncode}")
    try:
        return bool(json.loads(report.read_bytes()).get("ready"))
    except (OSError, ValueError):
        return False


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))
