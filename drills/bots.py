"""Bots whose answers tell them apart: each has weights of its own, and what it must answer is computed here."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from botshard.bots.safetensors_file import safetensors_bytes

__all__ = ["DrillBot", "make_bots", "with_versions"]

_INPUTS, _OUTPUTS = 8, 4
_HIDDEN = 4096
_SMALL = f"{{name: linear, inputs: {_INPUTS}, outputs: {_OUTPUTS}, bias: false}}"
_LARGE = f"{{name: mlp, layers: [{_INPUTS}, {_HIDDEN}, {_OUTPUTS}], activation: relu}}"
_BOT_FILE = f"""\
id: {{id}}
tenant: drills
poolGroup: {{group}}
framework: torch
model:
  format: safetensors
  file: model.safetensors
  architecture: {{architecture}}
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
    others: tuple[tuple[float, ...], ...] = ()
    """What its other versions answer, where they are published while it is asked."""
    versions: tuple[Path, ...] = ()
    """Their folders."""


def make_bots(folder: Path, names: Iterable[str], *, group: str, seed: int, is_large: bool = False) -> list[DrillBot]:
    """Folders of bots in a pool group, and what they answer; large ones take 208 KiB of memory."""
    chance = random.Random(f"{seed} {group}")  # noqa: S311 - weights, no secret
    return [_make(folder / name, group, chance, is_large=is_large) for name in names]


def with_versions(bot: DrillBot, count: int, *, group: str, seed: int, is_large: bool) -> DrillBot:
    """The bot, with so many more versions of other weights beside it, to be published in turn."""
    chance = random.Random(f"{seed} {bot.id}")  # noqa: S311 - weights, no secret
    values = json.loads(bot.question)["inputs"][0]["data"]
    folders = [bot.folder.with_name(f"{bot.id}.{number}") for number in range(count)]
    answers = [_product(_write(folder, bot.id, group, chance, is_large=is_large), values) for folder in folders]
    return replace(bot, others=tuple(answers), versions=(bot.folder, *folders))


def _make(path: Path, group: str, chance: random.Random, *, is_large: bool) -> DrillBot:
    weights = _write(path, path.name, group, chance, is_large=is_large)
    values = [_short(chance) for _ in range(_INPUTS)]
    question = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, _INPUTS], "data": values}]}
    return DrillBot(path.name, path, json.dumps(question), _product(weights, values))


def _write(path: Path, bot_id: str, group: str, chance: random.Random, *, is_large: bool) -> list[list[float]]:
    """A bot's folder; its weights."""
    path.mkdir(parents=True)
    weights = [[_short(chance) for _ in range(_INPUTS)] for _ in range(_OUTPUTS)]
    tensors = _large(weights) if is_large else {"weight": _tensor(weights)}
    (path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    architecture = _LARGE if is_large else _SMALL
    (path / "bot.yaml").write_text(_BOT_FILE.format(id=bot_id, group=group, architecture=architecture))
    return weights


def _large(weights: Sequence[Sequence[float]]) -> dict[str, tuple[tuple[int, ...], bytes]]:
    """The same product by way of a wide hidden layer: `relu(Wx) - relu(-Wx)`, and beside that nothing but noughts."""
    negative = [[-weight for weight in row] for row in weights]
    nothing = [[0.0] * _INPUTS] * (_HIDDEN - 2 * _OUTPUTS)
    last = [
        [1.0 if at == row else -1.0 if at == row + _OUTPUTS else 0.0 for at in range(_HIDDEN)]
        for row in range(_OUTPUTS)
    ]
    return {
        "layers.0.weight": _tensor([*weights, *negative, *nothing]),
        "layers.0.bias": ((_HIDDEN,), bytes(4 * _HIDDEN)),
        "layers.1.weight": _tensor(last),
        "layers.1.bias": ((_OUTPUTS,), bytes(4 * _OUTPUTS)),
    }


def _tensor(rows: Sequence[Sequence[float]]) -> tuple[tuple[int, ...], bytes]:
    flat = [value for row in rows for value in row]
    return (len(rows), len(rows[0])), struct.pack(f"<{len(flat)}f", *flat)


def _product(weights: Sequence[Sequence[float]], values: Sequence[float]) -> tuple[float, ...]:
    return tuple(sum(weight * value for weight, value in zip(row, values, strict=True)) for row in weights)


def _short(chance: random.Random) -> float:
    """A number that is the same in 32 bits: sums of a few products of them are exact."""
    return chance.randint(-512, 512) / 64
