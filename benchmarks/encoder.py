"""Many bots on one sentence encoder: `python -m benchmarks.encoder [--json FILE] [--bots N] [--rounds N]`.

A replica with 500 heads on MiniLM gets one text a request, 64 in flight, bots and texts mixed. Its peers compute in a
process of their own on the same core, in turns with it: the encoder alone on batches of 64 such texts, which nothing
can beat, and the encoder with one text a call, which is what one encoder a bot reaches, if there were memory for it.
Figures are medians of interleaved rounds; texts a CPU second repeat better where others use the machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import yaml

from benchmarks.http_load import run_load
from benchmarks.report import Row, parser, publish
from botshard.bots.backbones import publish_backbone
from botshard.bots.publish import publish as publish_bots
from botshard.bots.safetensors_file import safetensors_bytes
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import Epoch, Framework, GroupName
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.files import FileStore
from botshard.store.table import TableStore
from examples.backbone import encoder_folder
from examples.corpus import own_phrases

__all__ = ["rows"]

_BACKBONE: Final = "minilm"
_KEY: Final = FamilyKey(GroupName("realtime"), Framework("torch"), _BACKBONE)
_LAYERS: Final = (384, 64, 7)
_IN_FLIGHT: Final = 64
_REQUESTS: Final = 1024
_READY_S: Final = 120.0
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class _Figures:
    """Of one subject, a round each."""

    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)

    def note(self, texts: int, wall_s: float, cpu_s: float) -> None:
        self.per_s.append(texts / wall_s)
        self.per_cpu_s.append(texts / cpu_s)


def main() -> int:
    """Measure, print, compare with the bar."""
    options = parser("Many bots on one sentence encoder")
    options.add_argument("--bots", type=int, default=500)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3.0)
    wanted = options.parse_args()
    return publish(rows(bots=wanted.bots, rounds=wanted.rounds, seconds=wanted.seconds), wanted.json)


def rows(*, bots: int = 500, rounds: int = 5, seconds: float = 3.0) -> list[Row]:
    """The figures. The replica and its peers run on the lowest of this process's cores, the load on the highest."""
    corpus = own_phrases()
    texts = sorted({text for phrases in corpus.intents.values() for text in (*phrases.train, *phrases.test)})
    random.Random(1).shuffle(texts)  # noqa: S311 - an order, no secret
    replica, together, alone = _Figures(), _Figures(), _Figures()
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = _publish(folder, bots)
        port = _free_port()
        requests = [_request(port, index % bots, text) for index, text in enumerate(texts[:_REQUESTS])]
        with _replica(environ, port, requests[0]) as process, _peer(texts) as peer:
            os.sched_setaffinity(0, {max(cores)})
            for _ in range(rounds):
                run_load(port, requests, connections=_IN_FLIGHT, seconds=0.5)  # warm
                before_s = _cpu_s(process.pid)
                load = run_load(port, requests, connections=_IN_FLIGHT, seconds=seconds)
                if load.failed or not load.answered:
                    raise SystemExit(f"{load.failed} of {load.answered} requests failed; nothing was measured")
                replica.note(load.answered, load.took_s, _cpu_s(process.pid) - before_s)
                together.note(*peer.ask(_IN_FLIGHT, seconds))
                alone.note(*peer.ask(1, seconds / 2))
            resident = _resident_bytes(process.pid)
    os.sched_setaffinity(0, cores)
    return [
        _row(f"MiniLM, {bots} bots, {_IN_FLIGHT} in flight: texts a second", "per_s", replica, together, alone),
        _row("the same: texts a CPU second", "per_cpu_s", replica, together, alone, best=0.9),
        Row("the replica's own memory (private and shared), MiB", resident / 2**20),
    ]


def _row(what: str, name: str, ours: _Figures, *peers: _Figures, best: float | None = None) -> Row:
    mine, together, alone = (statistics.median(getattr(figures, name)) for figures in (ours, *peers))
    ratio = mine / together
    named = {f"encoder, {_IN_FLIGHT} texts a call": together, "one text a call": alone}
    return Row(what, mine, named, ratio, "≥ 0.9 x" if best else "", ratio >= best if best else None)


class _Peer:
    """The other end of `_serve_peer`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, size: int, seconds: float) -> tuple[int, float, float]:
        """Texts, wall and CPU seconds of calls with `size` texts each, for so long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{size} {seconds}\n")
        self._process.stdin.flush()
        texts, wall_s, cpu_s = self._process.stdout.readline().split()
        return int(texts), float(wall_s), float(cpu_s)


def _serve_peer() -> None:
    """The encoder alone: texts on the first line of standard input, then one line a measurement."""
    import torch

    from botshard.bots.backbones import BackboneFiles
    from botshard.bots.encoder_folder import read_encoder_folder
    from kserve_runtimes.torch.device import Device
    from kserve_runtimes.torch.encoder import Encoder

    torch.set_num_threads(1)
    folder = read_encoder_folder(encoder_folder(_BACKBONE))
    encoder = Encoder(BackboneFiles(_BACKBONE, "", folder.spec, folder.folder), Device("cpu"))
    texts: list[str] = orjson.loads(sys.stdin.readline())
    encoder.encode(texts[:_IN_FLIGHT])
    begin = 0
    for line in sys.stdin:
        size, seconds = int(line.split()[0]), float(line.split()[1])
        done, before_s, before_cpu_s = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - before_s < seconds:
            encoder.encode((texts + texts)[begin : begin + size])
            begin = (begin + size) % len(texts)
            done += size
        print(done, time.perf_counter() - before_s, time.process_time() - before_cpu_s, flush=True)


@contextlib.contextmanager
def _peer(texts: Sequence[str]) -> Iterator[_Peer]:
    command = [sys.executable, "-c", "from benchmarks.encoder import _serve_peer; _serve_peer()"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(list(texts)).decode() + "\n")
        peer = _Peer(process)
        peer.ask(1, 0.1)
        yield peer
        process.stdin.close()


@contextlib.contextmanager
def _replica(environ: dict[str, str], port: int, request: bytes) -> Iterator[subprocess.Popen[bytes]]:
    settings = {**os.environ, **environ, "OMP_NUM_THREADS": "1", "RUNTIME_HTTP_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "kserve_runtimes"], env=settings, stdout=subprocess.DEVNULL)
    try:
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        _wait_until_ready(port, request)
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(port: int, request: bytes) -> None:
    """Until it answers an inference, and is ready, so that nothing is loaded any more."""
    deadline_s = time.monotonic() + _READY_S
    ready = f"GET /pool/ready HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n".encode()
    pending = [ready, request.replace(b"user-agent: load", b"connection: close", 1)]
    while pending:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5.0) as client:
            client.sendall(pending[0])
            if client.recv(4096).startswith(b"HTTP/1.1 200"):
                pending.pop(0)
                continue
        if time.monotonic() > deadline_s:
            raise SystemExit("the replica does not answer")
        time.sleep(0.1)


def _request(port: int, bot: int, text: str) -> bytes:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text]}
    body = orjson.dumps({"inputs": [tensor]})
    head = (
        f"POST /v2/models/bot-{bot:03}/infer HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: load\r\n"
        f"accept: */*\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _publish(folder: Path, bots: int) -> dict[str, str]:
    """A store with the backbone, the bots and a table; the replica's settings."""
    (folder / "store").mkdir()
    store = FileStore(folder / "store")
    publish_backbone(store, _BACKBONE, encoder_folder(_BACKBONE), now_s=int(time.time()))
    folders = [_write_bot(folder / f"bot-{index:03}", index) for index in range(bots)]
    results = publish_bots(store, folders, now_s=int(time.time()))
    if any(result.problems for result in results):
        raise SystemExit(f"bots cannot be published: {next(result for result in results if result.problems)}")
    family = family_id(_KEY)
    pool = pool_name(_KEY.group, family, 0)
    routes = FamilyRoutes(family, _KEY, 0, {pool: "http://127.0.0.1:9"}, ((pool,),))
    table = RoutingTable(Epoch(1), {_KEY.group: GroupRoute(True, 30.0, 30.0)}, {family: routes})
    TableStore(store).publish(table, previous_etag=None)
    store.close()
    return {
        "RUNTIME_POOL": pool,
        "RUNTIME_REPLICA": "r-1",
        "RUNTIME_FRAMEWORK": "torch",
        "RUNTIME_STORE_URL": f"file://{folder}/store",
        "RUNTIME_CACHE_DIR": str(folder / "cache"),
        "RUNTIME_LOG_LEVEL": "WARNING",
        "RUNTIME_DEVICE": "cpu",
    }


def _write_bot(folder: Path, seed: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    inputs, hidden, outputs = _LAYERS
    shapes = {
        "layers.0.weight": (hidden, inputs),
        "layers.0.bias": (hidden,),
        "layers.1.weight": (outputs, hidden),
        "layers.1.bias": (outputs,),
    }
    tensors = {name: (shape, rng.normal(0, 0.1, shape).astype("<f4").tobytes()) for name, shape in shapes.items()}
    (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    document = {
        "id": folder.name,
        "tenant": "acme",
        "poolGroup": "realtime",
        "framework": "torch",
        "backbone": _BACKBONE,
        "model": {
            "format": "safetensors",
            "file": "model.safetensors",
            "architecture": {"name": "mlp", "layers": list(_LAYERS), "activation": "relu"},
        },
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, outputs]},
        ],
        "postprocess": [{"step": "softmax"}, {"step": "label", "labels": [f"label-{n}" for n in range(outputs)]}],
    }
    (folder / "bot.yaml").write_text(yaml.safe_dump(document))
    return folder


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _cpu_s(pid: int) -> float:
    columns = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(columns[11]) + int(columns[12])) / _CLOCK_TICKS


def _resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


if __name__ == "__main__":
    sys.exit(main())
