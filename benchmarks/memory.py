"""Whether memory goes back when bots leave it: `python -m benchmarks.memory [--json FILE]`.

A process of its own for each framework loads 40 bots in turn, asks each once and keeps the last ten in memory, as a
replica does: two threads that load, one that runs models. Its resident set at the end is compared with that after the
first quarter of the cycles.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path

from benchmarks.bots import family_bots
from benchmarks.report import Row, parser, publish
from botshard.bots.publish import publish as publish_bots
from botshard.oip.tensors import Tensor, tensor_from_json
from botshard.sharding.catalog import Bot
from botshard.sharding.ids import Framework
from botshard.store.artifact_cache import ArtifactCache
from botshard.store.catalog import CatalogStore
from botshard.store.urls import open_store
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.loading import BotLoader
from kserve_runtimes.core.reclaim import Reclaim
from kserve_runtimes.core.reporting import current_rss_bytes
from kserve_runtimes.frameworks import make_framework

_BOTS = 40
_KEPT = 10
_CYCLES = {"torch": 10_000, "tensorflow": 1_200, "onnx": 10_000}
_BAR = 2.0
_BUDGET_BYTES = 8 << 20
_MEBIBYTE = 1 << 20


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("Whether memory goes back when bots leave it")
    options.add_argument("--inside", nargs=3, metavar=("FRAMEWORK", "FOLDER", "CYCLES"), help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.inside is not None:
        framework, folder, cycles = arguments.inside
        print(*load_and_evict(Framework(framework), Path(folder), int(cycles)))
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"file://{folder}/store", {})
        publish_bots(store, family_bots(Path(folder) / "bots", len(_CYCLES) * _BOTS), now_s=0)
        store.close()
        for framework, cycles in _CYCLES.items():
            before, after = _in_a_process(framework, folder, cycles)
            growth = 100 * (after - before) / before
            what = f"{framework}, growth over {cycles:,} loads and evictions, %"
            rows += [
                Row(f"{framework}, resident set, MiB", after / _MEBIBYTE),
                Row(what, growth, bar=f"< {_BAR:g}", ok=growth < _BAR),
            ]
    return publish(rows, arguments.json)


def _in_a_process(framework: str, folder: str, cycles: int) -> tuple[int, int]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", "--inside", framework, folder, str(cycles)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    before, after = done.stdout.split()[-2:]
    return int(before), int(after)


def load_and_evict(framework: Framework, folder: Path, cycles: int) -> tuple[int, int]:
    """Bytes of this process after a quarter of the cycles, and after all of them."""
    store = open_store(f"file://{folder}/store", {})
    bots = _bots_of(CatalogStore(store).read_all().values(), framework)
    load = BotLoader(store, ArtifactCache(folder / "cache"), make_framework(framework, threads=1), None)
    kept: OrderedDict[int, LoadedBot] = OrderedDict()
    before_bytes = 0
    gc.collect()
    gc.freeze()
    with ThreadPoolExecutor(2) as loaders, ThreadPoolExecutor(1) as models:
        reclaim = Reclaim(loaders, _BUDGET_BYTES)
        for cycle in range(cycles):
            entry = bots[cycle % len(bots)]
            bot = loaders.submit(load, entry.id, entry.serving).result()
            models.submit(bot.predict, _question(bot)).result()
            kept[cycle] = bot
            if len(kept) > _KEPT:
                reclaim.note(kept.popitem(last=False)[1].footprint_bytes)
            del bot
            if cycle == cycles // 4:
                before_bytes = current_rss_bytes()
    store.close()
    return before_bytes, current_rss_bytes()


def _question(bot: LoadedBot) -> dict[str, Tensor]:
    """One row: a sentence, or noughts."""
    question = {}
    for tensor in bot.spec.inputs:
        shape = (1, *tensor.shape[1:])
        data = ["when do you open?"] if tensor.datatype == "BYTES" else [0] * prod(shape)
        question[tensor.name] = tensor_from_json(tensor.name, tensor.datatype, shape, data)
    return question


def _bots_of(bots: Iterable[Bot], framework: Framework) -> list[Bot]:
    return sorted((bot for bot in bots if bot.serving.family_key.framework == framework), key=lambda bot: bot.id)


if __name__ == "__main__":
    sys.exit(main())
