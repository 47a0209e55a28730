"""Makes real PyTorch files, good and hostile, in a process of its own: `python -m tests.bots.torch_models FOLDER`."""

from __future__ import annotations

import json
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

__all__ = ["MARKER", "TouchesMarker", "rewrite"]

_SYMBOL = re.compile(r"Symbol\('s[0-9]+', positive=True, integer=True\)")

MARKER = "executed"
"""The file that hostile models leave in their folder when anything executes them."""


class TouchesMarker:
    """Unpickling it creates a file."""

    def __init__(self, folder: Path) -> None:
        self._marker = str(folder / MARKER)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (exec, (f"open({self._marker!r}, 'w').close()",))


class Net(torch.nn.Module):
    """A weight, a buffer, a constant, and sizes that depend on each other."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = torch.nn.Linear(4, 3)
        self.register_buffer("offset", torch.ones(3))
        self.steps = torch.arange(3)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        """Two inputs of the same batch, a mapping of outputs."""
        z = torch.softmax(self.dense(x) + self.offset + self.steps, -1)
        return {"z": z + y.sum() * x.shape[0], "w": y.reshape(x.shape[0], -1)}


def rewrite(source: Path, target: Path, name: str, change: Callable[[bytes], bytes | None]) -> None:
    """Copies a zip; `change` gets the content of the file that ends with `name`, None leaves it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data: bytes | None = old.read(entry)
            if entry.filename.endswith(name) and data is not None:
                data = change(data)
            if data is not None:
                new.writestr(entry.filename, data)


def _exported() -> torch.export.ExportedProgram:
    batch = torch.export.Dim.DYNAMIC
    example = (torch.randn(2, 4), torch.randn(2, 5))
    shapes = ({0: batch, 1: torch.export.Dim.STATIC}, {0: batch, 1: torch.export.Dim.AUTO})
    return torch.export.export(Net().eval(), example, dynamic_shapes=shapes)


def _branching() -> torch.export.ExportedProgram:
    class Branch(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, (x,))
            return result

    program: torch.export.ExportedProgram = torch.export.export(Branch(), (torch.randn(2, 4),)).run_decompositions()
    return program


def main(folder: Path) -> None:
    """Good: plain.pt2, branching.pt2. The rest is to be refused; `attacks.json` says which of them were executed."""
    good = folder / "plain.pt2"
    torch.export.save(_exported(), good)
    torch.export.save(_branching(), folder / "branching.pt2")
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "state.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "script.pt")
    (folder / "model.pkl").write_bytes(pickle.dumps(TouchesMarker(folder)))
    torch.save(TouchesMarker(folder), folder / "hostile.pt")
    touch = f"open({str(folder / MARKER)!r}, 'w').close()"
    sample = (folder / "hostile.pt").read_bytes()
    rewrite(good, folder / "attack-samples.pt2", "sample_inputs/model.pt", lambda _: sample)
    guard = f"[{touch}] != 1"
    rewrite(good, folder / "attack-guard.pt2", "model.json", lambda data: _with(data, guards_code=[guard]))
    rewrite(good, folder / "attack-expression.pt2", "model.json", lambda data: _with_expression(data, touch))
    rewrite(good, folder / "attack-operator.pt2", "model.json", lambda data: _with_operator(data, folder / MARKER))
    executed = {path.name: _is_executed(path, folder / MARKER) for path in sorted(folder.glob("attack-*"))}
    (folder / "attacks.json").write_text(json.dumps(executed))


def _with(data: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(data), **changes}).encode()


def _with_expression(data: bytes, code: str) -> bytes:
    return data.replace(json.dumps(_SYMBOL.search(data.decode())[0]).encode()[1:-1], json.dumps(code).encode()[1:-1])  # type: ignore[index]


def _with_operator(data: bytes, marker: Path) -> bytes:
    """The first operator becomes a call of the shell: `torch` imports `os`."""
    document = json.loads(data)
    node = document["graph_module"]["graph"]["nodes"][0]
    argument = {"name": "command", "arg": {"as_string": f"touch {marker}"}, "kind": 1}
    document["graph_module"]["graph"]["nodes"].insert(0, {**node, "target": "torch.os.system", "inputs": [argument]})
    return json.dumps(document).encode()


def _is_executed(path: Path, marker: Path) -> bool:
    """Does loading (or calling) the file without our check run its code?"""
    marker.unlink(missing_ok=True)
    try:
        torch.export.load(path).module()(torch.randn(2, 4), torch.randn(2, 5))
    except Exception as error:  # noqa: BLE001 - hostile files may fail afterwards
        print(path.name, repr(error)[:300])  # noqa: T201
    executed = marker.exists()
    marker.unlink(missing_ok=True)
    return executed


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
