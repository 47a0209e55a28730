"""Models alone, without a server: `python -m benchmarks.pool_loops KIND FOLDER`, then lines of seconds on its input.

What a server is held against: the same work in a loop in one process, on the same core, in the same rounds. Each line
in is answered by one line out: microseconds of CPU a row.

KINDS:
    text: a text bot's processing and model, one text after the other.
    each: many bots of one shape, one row each, one bot after the other.
    together: the same through what runs them in one batch, where there is such a thing.
    torch: the same networks in PyTorch, one after the other.
    bmm: the same networks stacked, one `torch.bmm` a layer, weights stacked before.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from benchmarks.pool_bots import mlp_rows, texts
from benchmarks.pool_subjects import module, on_core
from botshard.oip.tensors import Tensor
from botshard.sharding.ids import Framework
from botshard.store.artifact_cache import ArtifactCache
from botshard.store.catalog import CatalogStore
from botshard.store.urls import open_store
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.loading import BotLoader
from kserve_runtimes.frameworks import make_framework

__all__ = ["Loop", "footprint_bytes", "looping"]


class Loop:
    """A process that runs models when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def row_us(self, seconds: float) -> float:
        """CPU of one row, after so long; NaN: there is no such way."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextlib.contextmanager
def looping(kind: str, folder: Path, *, core: int) -> Iterator[Loop]:
    """One that is ready."""
    with on_core(core):
        process = subprocess.Popen(
            module("benchmarks.pool_loops", kind, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with process:
        yield Loop(process)
        assert process.stdin is not None
        process.stdin.close()


def footprint_bytes(folder: Path, bot_id: str) -> int:
    """What a bot of the store in the folder measures in memory."""
    (bot,) = _loaded(folder, only=bot_id)
    return bot.footprint_bytes


def _loaded(folder: Path, *, only: str = "") -> list[LoadedBot]:
    """Bots of the store in the folder, by the core's own loader."""
    store = open_store(f"file://{folder}/store", {})
    found = sorted(CatalogStore(store).read_all().values(), key=lambda bot: bot.id)
    bots = [bot for bot in found if only in {"", bot.id}]
    load = BotLoader(store, ArtifactCache(folder / "cache"), make_framework(Framework("torch"), threads=1), None)
    loaded = [load(bot.id, bot.serving) for bot in bots]
    store.close()
    return loaded


def _text(folder: Path) -> Callable[[], int]:
    (bot,) = [bot for bot in _loaded(folder) if bot.id == "text"]
    questions = cycle([{"text": Tensor("text", "BYTES", (1, 1), [text.encode()])} for text in texts()])

    def run() -> int:
        bot.predict(next(questions))
        return 1

    return run


def _many(folder: Path) -> list[LoadedBot]:
    return [bot for bot in _loaded(folder) if bot.id.startswith("head-")]


def _each(folder: Path) -> Callable[[], int]:
    bots = _many(folder)
    questions = [{"x": Tensor("x", "FP32", (1, len(row)), row.reshape(1, -1))} for row in mlp_rows()]
    pairs = list(zip(bots, cycle(questions), strict=False))

    def run() -> int:
        for bot, question in pairs:
            bot.predict(question)
        return len(pairs)

    return run


def _together(folder: Path) -> Callable[[], int] | None:
    models = [bot.model for bot in _many(folder)]
    together = models[0].together
    if together is None or any(model.together is not together for model in models):
        return None
    rows = [{"x": row.reshape(1, -1)} for row in mlp_rows()]
    inputs = [inputs for _, inputs in zip(models, cycle(rows), strict=False)]

    def run() -> int:
        together.predict(models, inputs)
        return len(models)

    return run


def _weights(folder: Path) -> list[dict[str, Any]]:
    return [load_file(path) for path in sorted(folder.glob("bots/head-*/model.safetensors"))]


def _torch(folder: Path) -> Callable[[], int]:
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    networks = [{name: torch.from_numpy(array) for name, array in weights.items()} for weights in _weights(folder)]
    rows = [torch.from_numpy(row.reshape(1, -1)) for row in mlp_rows()]
    pairs = list(zip(networks, cycle(rows), strict=False))

    def run() -> int:
        with torch.inference_mode():
            for network, row in pairs:
                hidden = torch.relu(functional.linear(row, network["layers.0.weight"], network["layers.0.bias"]))
                functional.linear(hidden, network["layers.1.weight"], network["layers.1.bias"])
        return len(pairs)

    return run


def _bmm(folder: Path) -> Callable[[], int]:
    import torch

    torch.set_num_threads(1)
    networks = _weights(folder)
    stacked = {
        name: torch.from_numpy(np.stack([network[name] for network in networks])).contiguous() for name in networks[0]
    }
    first, last = (stacked[f"layers.{index}.weight"].transpose(1, 2).contiguous() for index in range(2))
    biases = [stacked[f"layers.{index}.bias"].unsqueeze(1) for index in range(2)]
    wanted = cycle(mlp_rows())
    rows = torch.from_numpy(np.stack([next(wanted) for _ in networks])).unsqueeze(1)

    def run() -> int:
        with torch.inference_mode():
            torch.baddbmm(biases[1], torch.relu(torch.baddbmm(biases[0], rows, first)), last)
        return len(networks)

    return run


_KINDS: dict[str, Callable[[Path], Callable[[], int] | None]] = {
    "text": _text,
    "each": _each,
    "together": _together,
    "torch": _torch,
    "bmm": _bmm,
}


def main() -> None:
    """Run as long as lines come."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    run = _KINDS[kind](folder)
    for line in sys.stdin:
        print("nan" if run is None else _row_us(run, float(line)), flush=True)


def _row_us(run: Callable[[], int], seconds: float) -> float:
    until_s = time.monotonic() + seconds
    run()
    began_s, rows = time.process_time(), 0
    while time.monotonic() < until_s:
        rows += run()
    return (time.process_time() - began_s) / max(rows, 1) * 1e6


if __name__ == "__main__":
    main()
