"""From exec to the first answer: `python -m benchmarks.cold [--json FILE] [--rounds N]`.

A replica as a container starts it (`python -m kserve_runtimes`), with one bot and a warm artifact cache, on a socket in
which a request waits already; the time is from before the start of the process to the whole answer, the memory that of
the process at that moment. The same network, an MLP 384-256-16, as declared weights, as a `torch.export` program and as
a Keras archive. The peer is KServe's model server with the same file, asked until it answers; what only an import
takes is measured in the same rounds. A zygote's replicas are measured from the request to fork.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
import yaml

from benchmarks.cold_models import LAYERS
from benchmarks.report import Row, parser, publish
from botshard.bots.publish import publish as publish_bots
from botshard.local.zygote_wire import CONTROL_FD_VARIABLE, Forked, ForkRequest, ZygoteReady, receive, send
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import Epoch, Framework, GroupName, PoolName
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.files import FileStore
from botshard.store.table import TableStore

_GROUP = GroupName("non-realtime")
_PATIENCE_S = 60.0
_BOTS = {
    "declared": ("torch", "safetensors", "mlp.safetensors"),
    "program": ("torch", "torch-export", "mlp.pt2"),
    "keras": ("tensorflow", "keras", "mlp.keras"),
}
"""Framework, format and file of each bot."""
_PEERS = {"declared": "numpy", "program": "torch", "keras": "keras"}
_IMPORTS = {
    "program": "import torch",
    "program's loader": "import torch._export.serde.serialize, torch._functorch.aot_autograd",
    "keras": "import tensorflow, keras",
}
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class _Start(NamedTuple):
    """One start of a process, up to its first answer."""

    took_s: float
    rss_bytes: float = 0.0
    cpu_s: float = 0.0


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("From exec to the first answer")
    options.add_argument("--rounds", type=int, default=5)
    wanted = options.parse_args()
    starts = defaultdict[str, list[_Start]](list)
    with tempfile.TemporaryDirectory(prefix="botshard-cold-") as name, contextlib.ExitStack() as stack:
        subjects = _subjects(Path(name), stack)
        for start in subjects.values():
            start()  # fills caches: artifacts, the system's pages, compiled modules
        for _ in range(wanted.rounds):
            for subject, start in subjects.items():
                starts[subject].append(start())
    return publish(_rows(starts), wanted.json)


def _rows(starts: Mapping[str, Sequence[_Start]]) -> list[Row]:
    times = {name: statistics.median(start.took_s for start in found) for name, found in starts.items()}
    sizes = {name: statistics.median(start.rss_bytes for start in found) / (1 << 20) for name, found in starts.items()}
    work = {name: statistics.median(start.cpu_s for start in found) for name, found in starts.items()}

    def row(what: str, subject: str, peers: dict[str, str], most: float | None, bar: str) -> Row:
        figures = {shown: times[peer] for shown, peer in peers.items()}
        ratio = times[subject] / next(iter(figures.values())) if figures else None
        return Row(f"{what}, s", times[subject], figures, ratio, bar, None if most is None else times[subject] <= most)

    def memory(what: str, subject: str, bar: str = "", *, most: float | None = None) -> Row:
        peers = {"KServe SDK": sizes[f"{subject} by the SDK"]}
        ratio = sizes[subject] / peers["KServe SDK"]
        return Row(f"{what}, MiB", sizes[subject], peers, ratio, bar, None if most is None else sizes[subject] <= most)

    def cpu(what: str, subject: str) -> Row:
        peer_s = work[f"{subject} by the SDK"]
        return Row(f"{what}, s", work[subject], {"KServe SDK": peer_s}, work[subject] / peer_s)

    program_s, keras_s = times["import: program's loader"] + 0.5, times["import: keras"] + 0.5
    sdk = {name: {"KServe SDK": f"{name} by the SDK"} for name in _BOTS}
    program = {**sdk["program"], "import torch": "import: program", "its loader too": "import: program's loader"}
    return [
        row("declared architecture: exec to first answer", "declared", sdk["declared"], 0.6, "≤ 0.6"),
        cpu("declared architecture: CPU until then", "declared"),
        memory("declared architecture: memory", "declared", "≤ 100", most=100.0),
        Row("declared architecture: exec to an answer of KServe's application, s", times["the SDK behind"]),
        Row("declared architecture: memory with KServe's application, MiB", sizes["the SDK behind"]),
        row("torch.export: exec to first answer", "program", program, program_s, f"≤ {program_s:.2f}"),
        cpu("torch.export: CPU until then", "program"),
        memory("torch.export: memory", "program"),
        row(
            "Keras: exec to first answer",
            "keras",
            {**sdk["keras"], "import tensorflow": "import: keras"},
            keras_s,
            f"≤ {keras_s:.2f}",
        ),
        cpu("Keras: CPU until then", "keras"),
        memory("Keras: memory", "keras"),
        row("zygote, declared architecture: fork to first answer", "zygote: declared", {}, 0.1, "≤ 0.1"),
        row("zygote, torch.export: fork to first answer", "zygote: program", {}, 0.1, "≤ 0.1"),
    ]


# ── what is measured ──────────────────────────────────────────────────────────────────────────────────────────────────


def _subjects(folder: Path, stack: contextlib.ExitStack) -> dict[str, Callable[[], _Start]]:
    """Each starts a process, and gives seconds to its answer and its resident bytes then; it leaves nothing behind."""
    subprocess.run([sys.executable, "-m", "benchmarks.cold_models", str(folder)], check=True, capture_output=True)
    pools = _publish(folder)
    zygote = stack.enter_context(_zygote())
    found: dict[str, Callable[[], _Start]] = {}
    for bot, (framework, _, file) in _BOTS.items():
        environ = _environ(folder, framework, pools[framework])
        found[bot] = lambda bot=bot, environ=environ: _start_replica(bot, environ)  # type: ignore[misc]
        found[f"{bot} by the SDK"] = lambda bot=bot, file=file: _start_peer(bot, folder / file)  # type: ignore[misc]
    sdk_environ = _environ(folder, "torch", pools["torch"])
    found["the SDK behind"] = lambda: _start_for_the_sdk(sdk_environ)
    for bot, statement in _IMPORTS.items():
        found[f"import: {bot}"] = lambda statement=statement: _import(statement)  # type: ignore[misc]
    for bot in ("declared", "program"):
        environ = _environ(folder, "torch", pools["torch"])
        found[f"zygote: {bot}"] = lambda bot=bot, environ=environ: _fork(zygote, bot, environ)  # type: ignore[misc]
    return found


def _start_replica(bot: str, environ: dict[str, str]) -> _Start:
    with _listener() as listener:
        fd = listener.fileno()
        started_s = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "kserve_runtimes"], env={**environ, "RUNTIME_LISTEN_FD": str(fd)}, pass_fds=(fd,)
        )
        with _ending(process):
            _ask(listener.getsockname()[1], bot)
            return _started(started_s, process.pid)


def _start_peer(bot: str, file: Path) -> _Start:
    with _listener() as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.cold_peer", _PEERS[bot], str(port), str(file)]
    started_s = time.perf_counter()
    process = subprocess.Popen(command, env=_base_environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with _ending(process):
        while True:
            try:
                _ask(port, "mlp")
                return _started(started_s, process.pid)
            except ConnectionRefusedError:
                if time.perf_counter() - started_s > _PATIENCE_S:
                    raise
                time.sleep(0.005)


def _start_for_the_sdk(environ: dict[str, str]) -> _Start:
    """The same, with the time and the memory of a request that KServe's application answers."""
    with _listener() as listener:
        fd = listener.fileno()
        started_s = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "kserve_runtimes"], env={**environ, "RUNTIME_LISTEN_FD": str(fd)}, pass_fds=(fd,)
        )
        with _ending(process):
            _exchange(listener.getsockname()[1], b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            return _started(started_s, process.pid)


def _import(statement: str) -> _Start:
    started_s = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-c", statement]
    subprocess.run(command, env=_base_environ(), check=True, stderr=subprocess.DEVNULL)
    return _Start(time.perf_counter() - started_s)


def _fork(zygote: socket.socket, bot: str, environ: dict[str, str]) -> _Start:
    with _listener() as listener:
        started_s = time.perf_counter()
        send(zygote, ForkRequest("cold", environ, ("RUNTIME_LISTEN_FD",)), fds=(listener.fileno(),))
        forked = receive(zygote)
        assert forked is not None and isinstance(forked[0], Forked)  # noqa: PT018
        try:
            _ask(listener.getsockname()[1], bot)
            return _started(started_s, forked[0].pid)
        finally:
            os.kill(forked[0].pid, signal.SIGTERM)
            receive(zygote)  # its end


@contextlib.contextmanager
def _zygote() -> Iterator[socket.socket]:
    """With what exported programs need."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = theirs.fileno()
    command = [sys.executable, "-m", "kserve_runtimes.zygote", "--framework", "torch", "--programs"]
    process = subprocess.Popen(command, env={**_base_environ(), CONTROL_FD_VARIABLE: str(fd)}, pass_fds=(fd,))
    theirs.close()
    try:
        ready = receive(ours)
        assert ready is not None and isinstance(ready[0], ZygoteReady)  # noqa: PT018
        yield ours
    finally:
        ours.close()
        process.wait()


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _ask(port: int, bot: str) -> None:
    """One request, answered. Raises: OSError; SystemExit where the answer is not 200."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, LAYERS[0]], "data": [0.5] * LAYERS[0]}
    body = orjson.dumps({"inputs": [tensor]})
    head = (
        f"POST /v2/models/{bot}/infer HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    _exchange(port, head.encode() + body)


def _exchange(port: int, request: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as client:
        client.sendall(request)
        answer = b""
        while piece := client.recv(1 << 16):
            answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"{request[:60]!r}: {answer[:400]!r}; nothing was measured")


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=16)


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _started(started_s: float, pid: int) -> _Start:
    took_s = time.perf_counter() - started_s
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    ticks = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[11:13]
    return _Start(took_s, float(pages * os.sysconf("SC_PAGE_SIZE")), sum(map(int, ticks)) / _CLOCK_TICKS)


# ── the store ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _publish(folder: Path) -> dict[str, PoolName]:
    """A store with the bots and a table; the pool of each framework."""
    (folder / "store").mkdir()
    store = FileStore(folder / "store")
    bots = [_write_bot(folder, bot) for bot in _BOTS]
    results = publish_bots(store, bots, now_s=int(time.time()))
    if any(result.problems for result in results):
        raise SystemExit(f"the bots cannot be published: {results}")
    families, pools = {}, {}
    for framework in ("torch", "tensorflow"):
        key = FamilyKey(_GROUP, Framework(framework))
        family = family_id(key)
        pool = pools[framework] = pool_name(_GROUP, family, 0)
        families[family] = FamilyRoutes(family, key, 0, {pool: "http://127.0.0.1:9"}, ((pool,),))
    groups = {_GROUP: GroupRoute(realtime=False, request_timeout_s=_PATIENCE_S, cold_start_timeout_s=_PATIENCE_S)}
    TableStore(store).publish(RoutingTable(Epoch(1), groups, families), previous_etag=None)
    store.close()
    return pools


def _write_bot(folder: Path, bot: str) -> Path:
    framework, form, file = _BOTS[bot]
    path = folder / bot
    path.mkdir()
    os.link(folder / file, path / file)
    model: dict[str, object] = {"format": form, "file": file}
    if form == "safetensors":
        model["architecture"] = {"name": "mlp", "layers": list(LAYERS), "activation": "relu"}
    document = {
        "id": bot,
        "tenant": "acme",
        "poolGroup": _GROUP,
        "framework": framework,
        "model": model,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, LAYERS[0]]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, LAYERS[-1]]}],
    }
    (path / "bot.yaml").write_text(yaml.safe_dump(document))
    return path


def _base_environ() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def _environ(folder: Path, framework: str, pool: PoolName) -> dict[str, str]:
    return {
        **_base_environ(),
        "RUNTIME_POOL": pool,
        "RUNTIME_REPLICA": "r-1",
        "RUNTIME_FRAMEWORK": framework,
        "RUNTIME_STORE_URL": f"file://{folder}/store",
        "RUNTIME_CACHE_DIR": str(folder / "cache"),
        "RUNTIME_LOG_LEVEL": "WARNING",
    }


if __name__ == "__main__":
    sys.exit(main())
