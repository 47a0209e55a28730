"""The bots that are asked: small, thousands of them, each with weights of its own, so that its answers are its own."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from botshard.bots.safetensors_file import safetensors_bytes

__all__ = ["NON_REALTIME", "QUESTION", "REALTIME", "VALUES", "Fleet", "FleetBot", "make_fleet", "write_bots"]

NON_REALTIME, REALTIME = "non-realtime", "realtime"
_INPUTS, _OUTPUTS = 8, 4
VALUES: Final = (0.5, -1.25, 2.0, 0.75, -0.5, 1.5, -2.25, 1.0)
"""What every bot is asked: short numbers, whose products with short weights are exact in 32 bits."""
QUESTION: Final = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, _INPUTS], "data": list(VALUES)}]}
)
"""The same as the body of an infer request."""
_BOT_FILE = """\
id: {id}
tenant: {tenant}
poolGroup: {group}
framework: torch
model:
  format: safetensors
  file: model.safetensors
  architecture: {{name: linear, inputs: {inputs}, outputs: {outputs}, bias: false}}
inputs:
  - {{name: x, datatype: FP32, shape: [-1, {inputs}]}}
outputs:
  - {{name: y, datatype: FP32, shape: [-1, {outputs}]}}
"""


@dataclass(frozen=True, slots=True)
class FleetBot:
    """One bot, as it is before anybody has published it."""

    id: str
    tenant: str
    group: str
    seed: int

    def weights(self, version: int) -> list[list[float]]:
        """Of a version, from 1 on; a row an output."""
        chance = Random(f"{self.seed} {self.id} {version}")  # noqa: S311 - weights, no secret
        return [[chance.randint(-512, 512) / 64 for _ in range(_INPUTS)] for _ in range(_OUTPUTS)]

    def answer(self, version: int) -> list[float]:
        """What a version makes of `VALUES`."""
        return [sum(weight * value for weight, value in zip(row, VALUES, strict=True)) for row in self.weights(version)]


@dataclass(frozen=True, slots=True)
class Fleet:
    """All of them, in the order in which timetables count them."""

    bots: tuple[FleetBot, ...]

    @property
    def tenants(self) -> tuple[str, ...]:
        """Whose each is."""
        return tuple(bot.tenant for bot in self.bots)

    @property
    def groups(self) -> tuple[str, ...]:
        """The pool group of each."""
        return tuple(bot.group for bot in self.bots)

    def of_group(self, group: str) -> int:
        """How many are in a pool group."""
        return self.groups.count(group)


def make_fleet(count: int, *, tenants: int, realtime_share: float, seed: int) -> Fleet:
    """`count` bots; tenants have equally many, and realtime ones are spread evenly over them."""
    return Fleet(
        tuple(
            FleetBot(
                f"load-{index:05}",
                f"tenant-{index % tenants:03}",
                REALTIME if _takes_turn(index // tenants, realtime_share) else NON_REALTIME,
                seed,
            )
            for index in range(count)
        )
    )


def write_bots(folder: Path, bots: Iterable[FleetBot], *, version: int = 1) -> list[Path]:
    """A folder each, below `folder`, to be published."""
    folders = []
    for bot in bots:
        path = folder / bot.id
        path.mkdir(parents=True)
        (path / "model.safetensors").write_bytes(safetensors_bytes({"weight": _tensor(bot.weights(version))}))
        (path / "bot.yaml").write_text(
            _BOT_FILE.format(id=bot.id, tenant=bot.tenant, group=bot.group, inputs=_INPUTS, outputs=_OUTPUTS)
        )
        folders.append(path)
    return folders


def _takes_turn(number: int, share: float) -> bool:
    """Whether the n-th of many is among a share of them that are spread evenly."""
    return int((number + 1) * share) > int(number * share)


def _tensor(rows: Sequence[Sequence[float]]) -> tuple[tuple[int, ...], bytes]:
    flat = [value for row in rows for value in row]
    return (len(rows), len(rows[0])), struct.pack(f"<{len(flat)}f", *flat)
