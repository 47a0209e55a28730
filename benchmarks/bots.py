"""Bots for benchmarks: untrained, small, of every family."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path

from botshard.bots.safetensors_file import safetensors_bytes
from botshard.bots.template import TemplateFramework, TemplateKind, write_template

__all__ = ["OwnBot", "family_bots", "own_bots", "sleepy_bots"]

_INTENTS, _WORDS = 3, 9
_SAMPLE = "sample.json"
_MODEL_OF_WORDS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class OwnBot:
    """A bot whose weights no other has, so that its answers are its own."""

    folder: Path
    weights: tuple[tuple[float, ...], ...]
    """A row an intent, a column a word of the template's vocabulary."""

    @property
    def id(self) -> str:
        """The bot's id."""
        return self.folder.name


def family_bots(folder: Path, count: int) -> list[Path]:
    """`count` text bots in equal shares of the families: framework, realtime or not."""
    families = cycle(product(TemplateFramework, ("realtime", "non-realtime")))
    keras = _make_keras_model(folder)
    return [
        _write(folder / f"bot-{index:05}", framework=framework, group=group, keras=keras)
        for index, (framework, group) in zip(range(count), families, strict=False)
    ]


def own_bots(folder: Path, count: int, *, memory: str = "1Mi") -> list[OwnBot]:
    """`count` realtime PyTorch text bots of one family, each with weights of its own; `memory`: their author's hint."""
    template = folder / "bot-00000"
    _write(template, framework=TemplateFramework.TORCH, group="realtime")
    bot_yaml = (template / "bot.yaml").read_text().replace("memory: 1Mi", f"memory: {memory}")
    numbers = random.Random(0)  # noqa: S311 - weights, not secrets
    bots = []
    for index in range(count):
        path = folder / f"bot-{index:05}"
        path.mkdir(exist_ok=True)
        rows = struct.pack(f"<{_INTENTS * _WORDS}f", *(numbers.gauss(0, 2) for _ in range(_INTENTS * _WORDS)))
        (path / _MODEL_OF_WORDS).write_bytes(safetensors_bytes({"weight": ((_INTENTS, _WORDS), rows)}))
        (path / "bot.yaml").write_text(bot_yaml.replace(template.name, path.name))
        if path != template:
            shutil.copy(template / _SAMPLE, path)
        bots.append(OwnBot(path, tuple(struct.iter_unpack(f"<{_WORDS}f", rows))))
    return bots


def sleepy_bots(folder: Path) -> dict[str, Path]:
    """One non-realtime text bot a framework."""
    keras = _make_keras_model(folder)
    return {
        str(framework): _write(folder / f"sleepy-{framework}", framework=framework, group="non-realtime", keras=keras)
        for framework in TemplateFramework
    }


def _make_keras_model(folder: Path) -> Path:
    """The template's Keras model, made once: that imports TensorFlow, which the benchmark itself must not."""
    path = folder.parent / "keras-model"
    write_template(path, framework=TemplateFramework.TENSORFLOW, kind=TemplateKind.TEXT)
    subprocess.run([sys.executable, "make_model.py"], cwd=path, check=True, capture_output=True)
    return path / "model.keras"


def _write(path: Path, *, framework: TemplateFramework, group: str, keras: Path | None = None) -> Path:
    write_template(path, framework=framework, kind=TemplateKind.TEXT)
    if keras is not None and framework is TemplateFramework.TENSORFLOW:
        shutil.copy(keras, path)
    bot_yaml = path / "bot.yaml"
    lines = bot_yaml.read_text().splitlines()
    replaced = (f"poolGroup: {group}" if line.startswith("poolGroup:") else line for line in lines)
    bot_yaml.write_text("\n".join(replaced) + "\n")
    return path
