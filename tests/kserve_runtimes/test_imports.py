"""What a replica imports before its first answer, by a list: whatever is added to it costs every cold start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.kserve_runtimes.bot_folders import linear_folder, text_folder
from tests.kserve_runtimes.fleet import ROOT, Fleet, key_of, pool_of

KEY = key_of("non-realtime", "torch")
POOL = pool_of("non-realtime", "torch")

ALLOWED = {
    "botshard",
    "csimdjson",
    "cython_runtime",  # a name that compiled modules leave
    "httptools",
    "kserve_runtimes",
    "numpy",
    "orjson",
    "prometheus_client",
    "simdjson",
    "uvloop",
}
"""Top-level packages besides the standard library's, for a bot without regular expressions."""
UNWELCOME = {"multiprocessing", "pydoc", "sqlite3", "unittest", "xml"}
"""Of the standard library's, what a library might pull in and nobody needs."""
FORBIDDEN = {"fastapi", "grpc", "kserve", "kubernetes", "minio", "pydantic", "tensorflow", "torch", "urllib3", "yaml"}

_PROGRAM = """
import json, os, signal, socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
os.environ["RUNTIME_LISTEN_FD"] = str(listener.fileno())
answer = b""

def ask():
    global answer
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(sys.argv[1].encode())
        while piece := client.recv(65536):
            answer += piece
    os.kill(os.getpid(), signal.SIGTERM)

before = set(sys.modules)
from kserve_runtimes.main import run
threading.Thread(target=ask).start()
code = run(os.environ)
found = sorted({name.split(".")[0] for name in set(sys.modules) - before})
print(json.dumps([code, answer.split(b" ", 2)[1].decode(), found]))
sys.stdout.flush()
os._exit(0)
"""


def _imported(fleet: Fleet, path: str, body: object) -> set[str]:
    """Top-level packages that a replica has imported once it has answered one request."""
    data = orjson.dumps(body).decode()
    request = (
        f"POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n{data}"
    )
    environ = fleet.environ(POOL, "torch", "r-1", RUNTIME_SDK="asked")
    command = [sys.executable, "-c", _PROGRAM, request]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    code, status, found = orjson.loads(done.stdout)
    assert (code, status) == (0, "200"), done.stderr
    return set(found)


@pytest.fixture(autouse=True)
def _bots(fleet: Fleet, tmp_path: Path) -> None:
    fleet.publish(
        linear_folder(tmp_path, "numbers", group="non-realtime"), text_folder(tmp_path, "text", group="non-realtime")
    )
    fleet.publish_table({KEY: [POOL]})


@pytest.mark.parametrize("bot", ["numbers", "text"])
def test_the_first_inference_imports_what_it_needs(fleet: Fleet, bot: str) -> None:
    """One request to a bot of a declared architecture: nothing but what stands in the list."""
    tensor: dict[str, object] = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    if bot == "text":
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["good morning"]}
    found = _imported(fleet, f"/v2/models/{bot}/infer", {"inputs": [tensor]})
    libraries = {name for name in found if name not in sys.stdlib_module_names and not name.startswith("_")}
    assert libraries == ALLOWED
    assert not found & (FORBIDDEN | UNWELCOME)
