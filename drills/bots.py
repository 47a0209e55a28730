"""Bots whose answers tell them apart: each has weights of its own, and what it must answer is computed here."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from botshard.bots.safetensors_file import safetensors_bytes

__all__ = ["DrillBot", "make_bots"]

_INPUTS, _OUTPUTS = 8, 4
_BOT_FILE = f"""\
id: {{id}}
tenant: drills
poolGroup: {{group}}
framework: torch
model:
  format: safetensors
  file: model.safetensors
  architecture: {{{{name: linear, inputs: {_INPUTS}, outputs: {_OUTPUTS}, bias: false}}}}
inputs:
  - {{{{name: x, datatype: FP32, shape: [-1, {_INPUTS}]}}}}
outputs:
  - {{{{name: y, datatype: FP32, shape: [-1, {_OUTPUTS}]}}}}
"""


@dataclass(frozen=True, slots=True)
class DrillBot:
    """One bot, a question to it, and the only right answer."""

    id: str
    folder: Path
    question: str
    """Body of an infer request."""
    answer: tuple[float, ...]
    """Values of its only output."""


def make_bots(folder: Path, names: Iterable[str], *, group: str, seed: int) -> list[DrillBot]:
    """Folders of bots in a pool group, and what they answer."""
    chance = random.Random(f"{seed} {group}")  # noqa: S311 - weights, no secret
    return [_make(folder / name, group, chance) for name in names]


def _make(path: Path, group: str, chance: random.Random) -> DrillBot:
    path.mkdir(parents=True)
    weights = [[_short(chance) for _ in range(_INPUTS)] for _ in range(_OUTPUTS)]
    flat = [weight for row in weights for weight in row]
    data = safetensors_bytes({"weight": ((_OUTPUTS, _INPUTS), struct.pack(f"<{len(flat)}f", *flat))})
    (path / "model.safetensors").write_bytes(data)
    (path / "bot.yaml").write_text(_BOT_FILE.format(id=path.name, group=group))
    values = [_short(chance) for _ in range(_INPUTS)]
    question = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, _INPUTS], "data": values}]}
    return DrillBot(path.name, path, json.dumps(question), _product(weights, values))


def _product(weights: Sequence[Sequence[float]], values: Sequence[float]) -> tuple[float, ...]:
    return tuple(sum(weight * value for weight, value in zip(row, values, strict=True)) for row in weights)


def _short(chance: random.Random) -> float:
    """A number that is the same in 32 bits: sums of a few products of them are exact."""
    return chance.randint(-512, 512) / 64
