"""A GPU against the processor, where there is one: `python -m benchmarks.device [--json FILE] [--device cuda]`.

Without the server around it: the encoder on batches of 64 texts, and 64 bots of one shape with a row each, by PyTorch
on the device and by what the processor uses. `--device cpu` runs the same code on the processor, which shows that it
works and nothing else.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.report import Row, parser, publish
from botshard.bots.backbones import BackboneFiles
from botshard.bots.encoder_folder import read_encoder_folder
from botshard.bots.safetensors_file import safetensors_bytes
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId
from examples.backbone import PACKAGES, encoder_folder
from examples.corpus import own_phrases
from kserve_runtimes.core.model import Model
from kserve_runtimes.declared.models import DeclaredModels
from kserve_runtimes.torch.device import Device
from kserve_runtimes.torch.device_models import DeviceModels
from kserve_runtimes.torch.encoder import Encoder

__all__ = ["rows"]

_BATCH: Final = 64
_WIDTH: Final = 384
_HIDDEN: Final = 256
_CLASSES: Final = 16


def main() -> int:
    """Measure and print."""
    options = parser("A GPU against the processor")
    options.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options.add_argument("--rounds", type=int, default=20)
    wanted = options.parse_args()
    return publish(rows(Device(wanted.device), rounds=wanted.rounds), wanted.json)


def rows(device: Device, *, rounds: int = 20) -> list[Row]:
    """Rows a second there and here, and the bytes of the device's memory."""
    torch.set_num_threads(1)
    here = Device("cpu")
    found = [_encoder_row(name, device, here, rounds) for name in PACKAGES]
    with tempfile.TemporaryDirectory() as folder:
        found.append(_networks_row(Path(folder), device, rounds))
    used_bytes = device.used_bytes
    if used_bytes is not None:
        found.append(Row("device memory in use, MiB", used_bytes / 2**20))
    return found


def _encoder_row(name: str, device: Device, here: Device, rounds: int) -> Row:
    corpus = own_phrases()
    texts = sorted({text for phrases in corpus.intents.values() for text in phrases.train})
    chosen = random.Random(1).sample(texts, _BATCH)  # noqa: S311 - chooses examples, keeps no secret
    folder = read_encoder_folder(encoder_folder(name))
    files = BackboneFiles(name, "", folder.spec, folder.folder)
    theirs, ours = Encoder(files, device), Encoder(files, here)
    difference = float(np.abs(theirs.encode(chosen) - ours.encode(chosen)).max())
    there_s, here_s = _median_s(lambda: theirs.encode(chosen), rounds), _median_s(lambda: ours.encode(chosen), rounds)
    what = f"{name} on {device.torch}, {_BATCH} texts a batch: texts a second (largest difference {difference:.0e})"
    return Row(what, _BATCH / there_s, {"cpu": _BATCH / here_s}, here_s / there_s)


def _networks_row(folder: Path, device: Device, rounds: int) -> Row:
    loaders: Sequence[DeviceModels | DeclaredModels] = (DeviceModels(device), DeclaredModels())
    there, here = ([_load(loader, folder, seed) for seed in range(_BATCH)] for loader in loaders)
    rng = np.random.default_rng(0)
    inputs = [{"x": rng.normal(0, 1, (1, _WIDTH)).astype(np.float32)} for _ in range(_BATCH)]
    there_s, here_s = (_median_s(_batch(models, inputs), rounds) for models in (there, here))
    what = f"{_BATCH} bots on {device.torch}, MLP {_WIDTH}-{_HIDDEN}-{_CLASSES}, a row each: rows a second"
    return Row(what, _BATCH / there_s, {"cpu, numpy": _BATCH / here_s}, here_s / there_s)


def _load(loader: DeviceModels | DeclaredModels, folder: Path, seed: int) -> Model:
    path = folder / f"{seed}.safetensors"
    if not path.exists():
        rng = np.random.default_rng(seed)
        shapes = ((_HIDDEN, _WIDTH), (_CLASSES, _HIDDEN))
        tensors: dict[str, tuple[tuple[int, ...], bytes]] = {}
        for index, shape in enumerate(shapes):
            tensors[f"layers.{index}.weight"] = (shape, rng.normal(0, 0.1, shape).astype("<f4").tobytes())
            tensors[f"layers.{index}.bias"] = (shape[:1], bytes(4 * shape[0]))
        path.write_bytes(safetensors_bytes(tensors))
    architecture = {"name": "mlp", "layers": [_WIDTH, _HIDDEN, _CLASSES], "activation": "relu"}
    model = {"format": "safetensors", "file": path.name, "architecture": architecture}
    spec = BotSpec(BotId("a"), TenantId("t"), GroupName("g"), Framework("torch"), (), (), model)
    return loader.load(spec, folder, (TensorSpec("x", "FP32", (-1, _WIDTH)),))


def _batch(models: Sequence[Model], inputs: Sequence[dict[str, Any]]) -> Callable[[], object]:
    together = models[0].together
    assert together is not None
    return lambda: together.predict(models, inputs)


def _median_s(run: Callable[[], object], rounds: int) -> float:
    run()
    took_s = []
    for _ in range(rounds):
        before_s = time.perf_counter()
        run()
        took_s.append(time.perf_counter() - before_s)
    return statistics.median(took_s)


if __name__ == "__main__":
    sys.exit(main())
