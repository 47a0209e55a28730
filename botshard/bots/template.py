"""A bot to start from: a commented `bot.yaml` and a small model that works, written without any framework."""

from __future__ import annotations

import re
import struct
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from string import Template

from botshard.bots.bot_file import BOT_FILE
from botshard.bots.onnx_file import linear_onnx_bytes
from botshard.bots.safetensors_file import safetensors_bytes
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.ids import check_bot_id

__all__ = ["TemplateFramework", "TemplateKind", "write_template"]

# Words to intents: the rows are the outputs, the columns the words of the template's vocabulary.
_TEXT_WEIGHTS = (
    (4.0, 4.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 4.0, 4.0, 4.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 4.0, 4.0),
)
_TENSOR_WEIGHTS = ((1.0, 1.0, 1.0, 1.0), (1.0, -1.0, 1.0, -1.0))

_SAMPLE_FILE = "sample.json"
_TORCH_MODEL = """\
model: # a file of numbers, and the network that they are the weights of
  format: safetensors
  file: model.safetensors
  architecture: {name: linear, inputs: $inputs, outputs: $outputs, bias: false}"""
_TENSORFLOW_MODEL = """\
model: # `python make_model.py` writes it
  format: keras
  file: model.keras"""
_ONNX_MODEL = """\
model: # a graph: of scikit-learn by skl2onnx.to_onnx(..., options={'zipmap': False}), of PyTorch by torch.onnx.export
  format: onnx
  file: model.onnx"""


class TemplateFramework(StrEnum):
    """What the template's model is for."""

    TORCH = "torch"
    TENSORFLOW = "tensorflow"
    ONNX = "onnx"


class TemplateKind(StrEnum):
    """What the template's clients send."""

    TEXT = "text"
    TENSOR = "tensor"


def write_template(
    folder: Path,
    /,
    *,
    framework: TemplateFramework = TemplateFramework.TORCH,
    kind: TemplateKind = TemplateKind.TEXT,
    tenant: str = "acme",
) -> tuple[Path, ...]:
    """Write a bot into `folder`, which is made if it is not there; its name becomes the bot's id. Returns the files.

    With torch and onnx the bot can be published as it is; a Keras model needs Keras to be written, by `make_model.py`.

    Raises: InvalidDocumentError where the folder has one of the files already, or its name is no bot id; OSError.
    """
    bot_id = folder.resolve().name
    problem = check_bot_id(bot_id)
    if problem is not None:
        raise InvalidDocumentError(str(folder), [problem])
    contents = _contents(TemplateFramework(framework), TemplateKind(kind), bot_id, tenant)
    there = [folder / name for name in contents if (folder / name).exists()]
    if there:
        found = ", ".join(path.name for path in there)
        raise InvalidDocumentError(str(folder), [Problem("", found, "a new folder: nothing is overwritten")])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return tuple(folder / name for name in contents)


def _contents(framework: TemplateFramework, kind: TemplateKind, bot_id: str, tenant: str) -> dict[str, bytes]:
    weights = _TEXT_WEIGHTS if kind is TemplateKind.TEXT else _TENSOR_WEIGHTS
    outputs, inputs = len(weights), len(weights[0])
    columns = [list(column) for column in zip(*weights, strict=True)]
    if framework is TemplateFramework.TORCH:
        model = Template(_TORCH_MODEL).substitute(inputs=inputs, outputs=outputs)
        name, data = "model.safetensors", _safetensors(weights)
    elif framework is TemplateFramework.ONNX:
        model, name, data = _ONNX_MODEL, "model.onnx", linear_onnx_bytes(columns)
    else:
        model, name = _TENSORFLOW_MODEL, "make_model.py"
        data = Template(_text("make_model.txt")).substitute(weights=columns).encode()
    bot_file = Template(_text(f"{kind}.yaml")).substitute(
        id=_quoted(bot_id), tenant=_quoted(tenant), framework=framework, model=model
    )
    return {BOT_FILE: bot_file.encode(), name: data, _SAMPLE_FILE: _text(f"{kind}_sample.json").encode()}


def _safetensors(weights: tuple[tuple[float, ...], ...]) -> bytes:
    numbers = [number for row in weights for number in row]
    return safetensors_bytes({"weight": ((len(weights), len(weights[0])), struct.pack(f"<{len(numbers)}f", *numbers))})


def _text(name: str) -> str:
    return (files("botshard.bots") / "templates" / name).read_text()


def _quoted(text: str) -> str:
    """`text` as a YAML scalar that stays text: an id such as 2024 or true would not."""
    return (
        text if re.match(r"[A-Za-z][A-Za-z0-9._-]*\Z", text) and text not in {"true", "false", "null"} else f'"{text}"'
    )
