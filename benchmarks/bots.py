"""Bots for benchmarks: untrained, small, of every family."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import cycle, product
from pathlib import Path

from botshard.bots.template import TemplateFramework, TemplateKind, write_template

__all__ = ["family_bots", "sleepy_bots"]


def family_bots(folder: Path, count: int) -> list[Path]:
    """`count` text bots in equal shares of the four families."""
    families = cycle(product(TemplateFramework, ("realtime", "non-realtime")))
    keras = _make_keras_model(folder)
    return [
        _write(folder / f"bot-{index:05}", keras, framework=framework, group=group)
        for index, (framework, group) in zip(range(count), families, strict=False)
    ]


def sleepy_bots(folder: Path) -> dict[str, Path]:
    """One non-realtime text bot a framework."""
    keras = _make_keras_model(folder)
    return {
        str(framework): _write(folder / f"sleepy-{framework}", keras, framework=framework, group="non-realtime")
        for framework in TemplateFramework
    }


def _make_keras_model(folder: Path) -> Path:
    """The template's Keras model, made once: that imports TensorFlow, which the benchmark itself must not."""
    path = folder.parent / "keras-model"
    write_template(path, framework=TemplateFramework.TENSORFLOW, kind=TemplateKind.TEXT)
    subprocess.run([sys.executable, "make_model.py"], cwd=path, check=True, capture_output=True)
    return path / "model.keras"


def _write(path: Path, keras: Path, *, framework: TemplateFramework, group: str) -> Path:
    write_template(path, framework=framework, kind=TemplateKind.TEXT)
    if framework is TemplateFramework.TENSORFLOW:
        shutil.copy(keras, path)
    bot_yaml = path / "bot.yaml"
    lines = bot_yaml.read_text().splitlines()
    replaced = (f"poolGroup: {group}" if line.startswith("poolGroup:") else line for line in lines)
    bot_yaml.write_text("\n".join(replaced) + "\n")
    return path
