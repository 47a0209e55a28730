"""The kinds of models that there are, each with the same linear model `y = x W^T`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kserve_runtimes.bot_folders import (
    export_folder,
    keras_folder,
    linear_folder,
    onnx_folder,
    own_folder,
    saved_model_folder,
    write_tensorflow_models,
)

__all__ = ["KINDS", "SEEDS", "Kind"]

SEEDS: Final = (1, 2, 5)
"""Of the models that there are: one to ask, one to replace it, one to damage."""
Make = Callable[[Path, str, str, int], Path]


@dataclass(frozen=True, slots=True)
class Kind:
    """One model format of a framework."""

    name: str
    framework: str
    platform: str
    make: Make
    """The folder of a bot, of where to write it, its id, its pool group and its seed."""


def _tensorflow(root: Path) -> Path:
    models = root / "tensorflow-models"
    if not models.exists():
        write_tensorflow_models(models, *SEEDS)
    return models


def _keras(root: Path, bot_id: str, group: str, seed: int) -> Path:
    return keras_folder(root, bot_id, _tensorflow(root) / f"{seed}.keras", group=group, seed=seed)


def _saved_model(root: Path, bot_id: str, group: str, seed: int) -> Path:
    return saved_model_folder(root, bot_id, _tensorflow(root) / str(seed), group=group, seed=seed)


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("declared", "torch", "torch_safetensors", lambda r, b, g, s: linear_folder(r, b, group=g, seed=s)),
        Kind("program", "torch", "torch_torch-export", lambda r, b, g, s: export_folder(r, b, group=g, seed=s)),
        Kind("keras", "tensorflow", "tensorflow_keras", _keras),
        Kind("saved-model", "tensorflow", "tensorflow_savedmodel", _saved_model),
        Kind("onnx", "onnx", "onnx_onnx", lambda r, b, g, s: onnx_folder(r, b, group=g, seed=s)),
        Kind("own", "kserve", "kserve_kserve", lambda r, b, g, s: own_folder(r, b, group=g, seed=s)),
    )
}
