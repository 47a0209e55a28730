"""Other model servers with the same network: how each is started, asked, and its answer read.

They come from an environment of their own (`benchmarks.peers.make`), since none of them shares ours. One that is not
there is left out, and said to be.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchmarks.pool_bots import infer_request, mlp_outputs, mlp_requests, mlp_rows
from benchmarks.pool_subjects import Subject, free_port, module

__all__ = ["answers_like", "peers", "sdk"]

_FILES = Path(__file__).parent / "peers"
_TOLERANCE = 1e-4
_BATCH_ROWS, _BATCH_MS = 32, 2
"""Where a batcher has a window: what each of them makes the most of here."""


def sdk(weights: Path) -> Subject:
    """KServe's model server, quiet, as its documentation writes it."""
    port = free_port()
    command = module("benchmarks.pool_servers", "sdk", port, weights)
    return Subject("KServe SDK", command, port, mlp_requests(), check=answers_like(weights))


def peers(python: Path | None, folder: Path, weights: Path) -> list[Subject]:
    """Those that can be had in the environment of this Python."""
    if python is None:
        sys.stderr.write("no --peers-python: MLServer, TorchServe and PyTriton are left out\n")
        return []
    folder.mkdir()
    arrays = folder / "weights.npz"
    np.savez(arrays, **load_file(weights))
    makers: dict[str, Callable[[Path, Path, Path], Subject | None]] = {
        "mlserver": _mlserver,
        "ts": _torchserve,
        "pytriton": _pytriton,
    }
    found = []
    for name, make in makers.items():
        ask = f"import importlib.util as u; print(u.find_spec({name!r}) is not None)"
        there = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
        subject = make(python, folder, arrays) if there == "True" else None
        if subject is None:
            sys.stderr.write(f"{name} cannot be had: its rows are left out\n")
            continue
        subject.check = subject.check or answers_like(weights)
        found.append(subject)
    return found


def answers_like(weights: Path, *, read: Callable[[Any], Any] | None = None) -> Callable[[bytes], None]:
    """A check of the answer to the first row."""
    wanted: NDArray[np.float32] = mlp_outputs(weights, mlp_rows()[:1])

    def check(body: bytes) -> None:
        document = orjson.loads(body)
        numbers = read(document) if read else document["outputs"][0]["data"]
        given = np.array(numbers, np.float32).reshape(wanted.shape)
        if not np.allclose(given, wanted, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise RuntimeError(f"a wrong answer: {body[:200]!r}, wanted {wanted[0, :3]}…")

    return check


def _mlserver(python: Path, folder: Path, arrays: Path) -> Subject:
    """In its own process, without its batching: faster here than any other way it can be set up."""
    home, port = folder / "mlserver", free_port()
    home.mkdir()
    settings = {
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
        "use_structured_logging": False,
    }
    model = {"name": "mlp", "implementation": "mlserver_mlp.Mlp", "parameters": {"uri": str(arrays)}}
    (home / "settings.json").write_text(json.dumps(settings))
    (home / "model-settings.json").write_text(json.dumps(model))
    start = "from mlserver.cli import main; main()"
    return Subject("MLServer", [str(python), "-c", start, "start", str(home)], port, mlp_requests(), _with_files())


def _torchserve(python: Path, folder: Path, arrays: Path) -> Subject | None:
    """One backend process, batches of requests; its own JSON."""
    java = shutil.which("java")
    if java is None:
        return None
    home, port = folder / "torchserve", free_port()
    store = home / "models"
    store.mkdir(parents=True)
    manifest = {
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {"modelName": "mlp", "handler": "torchserve_mlp.py", "modelVersion": "1.0"},
    }
    with zipfile.ZipFile(store / "mlp.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.write(arrays, "weights.npz")
        for name in ("torchserve_mlp.py", "network.py"):
            archive.write(_FILES / name, name)
    batching = {"minWorkers": 1, "maxWorkers": 1, "batchSize": _BATCH_ROWS, "maxBatchDelay": _BATCH_MS}
    properties = [
        f"inference_address=http://127.0.0.1:{port}",
        f"management_address=http://127.0.0.1:{free_port()}",
        f"metrics_address=http://127.0.0.1:{free_port()}",
        f"grpc_inference_port={free_port()}",
        f"grpc_management_port={free_port()}",
        "disable_token_authorization=true",
        "disable_system_metrics=true",
        "default_workers_per_model=1",
        f"model_store={store}",
        "load_models=mlp.mar",
        "models=" + json.dumps({"mlp": {"1.0": {"defaultVersion": True, "marName": "mlp.mar", **batching}}}),
    ]
    (home / "config.properties").write_text("\n".join(properties) + "\n")
    start = "from ts.model_server import start; start()"
    command = [str(python), "-c", start, "--start", "--foreground", "--ncs", "--ts-config", "config.properties"]
    body = [orjson.dumps({"x": row}, option=orjson.OPT_SERIALIZE_NUMPY) for row in mlp_rows()]
    requests = [infer_request("mlp", one, path="/predictions/mlp") for one in body]
    check = answers_like(folder.parent / "bots" / "mlp" / "model.safetensors", read=lambda document: document["y"])
    environ = {**_with_files(), "LOG_LOCATION": str(home), "METRICS_LOCATION": str(home)}
    return Subject("TorchServe", command, port, requests, environ, check=check, folder=home)


def _pytriton(python: Path, folder: Path, arrays: Path) -> Subject:  # noqa: ARG001 - as the others
    """Triton's server with a Python callable in numpy (it has no PyTorch), its dynamic batching on."""
    port = free_port()
    command = [str(python), str(_FILES / "pytriton_mlp.py"), str(port), str(arrays)]
    return Subject("PyTriton", command, port, mlp_requests(), _with_files())


def _with_files() -> dict[str, str]:
    return {"PYTHONPATH": str(_FILES)}
