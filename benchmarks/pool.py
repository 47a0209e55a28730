"""What a request costs a pool's replica: `python -m benchmarks.pool [--json FILE] [--rounds N] [--seconds S]`.

One bot, an MLP 384-256-16 in PyTorch, one row of JSON a request. A replica as it is started in a container, KServe's
model server with the same network, and a bare protocol with the same network (`pool_servers.py`) take turns on one
core; the load generator has the other. Figures are medians of interleaved rounds. Where others use the machine, CPU a
request (user and system time of the server's process) repeats better than requests a second.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import yaml
from safetensors.numpy import save_file

from benchmarks.http_load import Load, run_load
from benchmarks.report import Row, parser, publish
from botshard.bots.publish import publish as publish_bots
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import Epoch, Framework, GroupName
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.files import FileStore
from botshard.store.table import TableStore

_LAYERS = (384, 256, 16)
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_KEY = FamilyKey(GroupName("realtime"), Framework("torch"))


@dataclass(slots=True)
class Subject:
    """One server under test."""

    name: str
    command: list[str]
    port: int
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    alone_us: list[float] = field(default_factory=list)
    alone_p99_us: list[float] = field(default_factory=list)


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("What a request costs a pool's replica")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=1.5)
    options.add_argument("--connections", type=int, default=64)
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subjects = _subjects(Path(folder))
        with _running(subjects):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            for _ in range(wanted.rounds):
                for subject in subjects:
                    _measure(subject, connections=wanted.connections, seconds=wanted.seconds)
    return publish(_rows(subjects, wanted.connections), wanted.json)


def _rows(subjects: list[Subject], connections: int) -> list[Row]:
    ours, sdk, _ = subjects

    def row(what: str, attribute: str, bar: str = "", *, best: float | None = None, less_is_better: bool = True) -> Row:
        values = {subject.name: statistics.median(getattr(subject, attribute)) for subject in subjects}
        mine = values.pop(ours.name)
        ratio = mine / values[sdk.name]
        ok = None if best is None else (ratio <= best if less_is_better else ratio >= best)
        return Row(what, mine, values, ratio, bar, ok)

    many = f"JSON, {connections} in flight"
    return [
        row(f"{many}: requests a second", "per_s", "≥ 12 x", best=12.0, less_is_better=False),
        row(f"{many}: CPU a request, µs", "cpu_us"),
        row(f"{many}: p50, µs", "p50_us"),
        row("JSON, one in flight: p50, µs", "alone_us", "≤ 0.45 x", best=0.45),
        row("JSON, one in flight: p99, µs", "alone_p99_us"),
    ]


def _measure(subject: Subject, *, connections: int, seconds: float) -> None:
    requests = _requests(subject.port)
    run_load(subject.port, requests, connections=connections, seconds=0.3)  # warm: connections, caches
    before_s = _cpu_s(subject)
    load = _checked(subject, run_load(subject.port, requests, connections=connections, seconds=seconds))
    subject.cpu_us.append((_cpu_s(subject) - before_s) / load.answered * 1e6)
    subject.per_s.append(load.answered / load.took_s)
    subject.p50_us.append(load.percentile_us(0.5))
    alone = _checked(subject, run_load(subject.port, requests, connections=1, seconds=seconds / 2))
    subject.alone_us.append(alone.percentile_us(0.5))
    subject.alone_p99_us.append(alone.percentile_us(0.99))


def _checked(subject: Subject, load: Load) -> Load:
    if load.failed or not load.answered:
        raise SystemExit(f"{subject.name}: {load.failed} of {load.answered} requests failed; nothing was measured")
    return load


def _requests(port: int) -> list[bytes]:
    """Some different rows, with as many digits as a float32 has."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(16):
        row = rng.normal(size=(1, _LAYERS[0])).astype(np.float32)
        tensor = {"name": "x", "datatype": "FP32", "shape": row.shape, "data": row.ravel()}
        body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
        head = (
            f"POST /v2/models/mlp/infer HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: load\r\naccept: */*\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


def _subjects(folder: Path) -> list[Subject]:
    weights = _write_bot(folder / "bot")
    environ = _publish(folder, folder / "bot")
    ours, sdk, floor = (_free_port() for _ in range(3))
    servers = [sys.executable, "-m", "benchmarks.pool_servers"]
    return [
        Subject(
            "replica", [sys.executable, "-m", "kserve_runtimes"], ours, {**environ, "RUNTIME_HTTP_PORT": str(ours)}
        ),
        Subject("KServe SDK", [*servers, "sdk", str(sdk), str(weights)], sdk),
        Subject("bare protocol", [*servers, "floor", str(floor), str(weights)], floor),
    ]


def _write_bot(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    tensors = {}
    for index, (inputs, outputs) in enumerate(pairwise(_LAYERS)):
        tensors[f"layers.{index}.weight"] = rng.normal(0, 0.1, (outputs, inputs)).astype(np.float32)
        tensors[f"layers.{index}.bias"] = rng.normal(0, 0.1, (outputs,)).astype(np.float32)
    weights = folder / "model.safetensors"
    save_file(tensors, weights)
    architecture = {"name": "mlp", "layers": list(_LAYERS), "activation": "relu"}
    document = {
        "id": "mlp",
        "tenant": "acme",
        "poolGroup": "realtime",
        "framework": "torch",
        "model": {"format": "safetensors", "file": weights.name, "architecture": architecture},
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, _LAYERS[0]]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, _LAYERS[-1]]}],
    }
    (folder / "bot.yaml").write_text(yaml.safe_dump(document))
    return weights


def _publish(folder: Path, bot: Path) -> dict[str, str]:
    """A store with the bot and a table; the replica's settings."""
    (folder / "store").mkdir()
    store = FileStore(folder / "store")
    results = publish_bots(store, [bot], now_s=int(time.time()))
    if any(result.problems for result in results):
        raise SystemExit(f"the bot cannot be published: {results}")
    family = family_id(_KEY)
    pool = pool_name(_KEY.group, family, 0)
    routes = FamilyRoutes(family, _KEY, 0, {pool: "http://127.0.0.1:9"}, ((pool,),))
    table = RoutingTable(Epoch(1), {_KEY.group: GroupRoute(True, 10.0, 30.0)}, {family: routes})
    TableStore(store).publish(table, previous_etag=None)
    store.close()
    return {
        "RUNTIME_POOL": pool,
        "RUNTIME_REPLICA": "r-1",
        "RUNTIME_FRAMEWORK": "torch",
        "RUNTIME_STORE_URL": f"file://{folder}/store",
        "RUNTIME_CACHE_DIR": str(folder / "cache"),
        "RUNTIME_LOG_LEVEL": "WARNING",
    }


@contextlib.contextmanager
def _running(subjects: list[Subject]) -> Iterator[None]:
    core = min(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        for subject in subjects:
            environ = {**os.environ, "OMP_NUM_THREADS": "1", **subject.environ}
            process = subprocess.Popen(subject.command, env=environ, stdout=subprocess.DEVNULL)
            os.sched_setaffinity(process.pid, {core})
            subject.process = process
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for subject in subjects:
            _wait_until_ready(subject)
        yield


def _wait_until_ready(subject: Subject) -> None:
    """Until it answers an inference."""
    deadline_s = time.monotonic() + 90.0
    request = _requests(subject.port)[0].replace(b"user-agent: load", b"connection: close", 1)
    while time.monotonic() < deadline_s:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", subject.port), timeout=5.0) as client,
        ):
            client.sendall(request)
            if client.recv(4096).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.1)
    raise SystemExit(f"{subject.name} does not answer")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _cpu_s(subject: Subject) -> float:
    assert subject.process is not None
    columns = Path(f"/proc/{subject.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(columns[11]) + int(columns[12])) / _CLOCK_TICKS


if __name__ == "__main__":
    sys.exit(main())
