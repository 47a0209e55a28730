"""From what was typed to the tensors of a request. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from botshard.bots.hints import known_names
from botshard.cli.errors import CommandError, WrongUsageError
from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Tensor, tensor_from_json
from botshard.sharding.catalog import TensorSpec
from botshard.sharding.reading import Reader

__all__ = ["read_inputs", "tensors_of", "text_tensor"]

_METADATA = "metadata of the bot"


def read_inputs(document: object, /) -> tuple[TensorSpec, ...]:
    """The declared inputs in a bot's metadata. Raises: InvalidDocumentError."""
    reader = Reader.of(document, _METADATA)
    specs = tuple(
        TensorSpec(
            entry.text("name"),
            entry.text("datatype"),
            tuple(size for size in entry.items("shape") if isinstance(size, int)),
        )
        for entry in reader.objects("inputs")
    )
    reader.finish(_METADATA)
    return specs


def text_tensor(texts: Sequence[str], inputs: Sequence[TensorSpec], /) -> Tensor:
    """One row a text, for a bot whose only input is text.

    Raises: CommandError where the bot takes something else.
    """
    taken = ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in inputs)
    is_text = len(inputs) == 1 and inputs[0].datatype == "BYTES" and all(size in (-1, 1) for size in inputs[0].shape)
    if not is_text or not inputs[0].shape:
        raise CommandError(f"the bot does not take plain text but {taken}: give each input as --tensor NAME=JSON")
    shape = (len(texts),) + (1,) * (len(inputs[0].shape) - 1)
    # Bytes of the command line that are no UTF-8 cannot be sent as JSON; the bot gets the usual stand-in.
    return Tensor(inputs[0].name, "BYTES", shape, [text.encode("utf-8", "replace") for text in texts])


def tensors_of(options: Sequence[str], inputs: Sequence[TensorSpec], /) -> list[Tensor]:
    """The tensors of `NAME=JSON` and `NAME=@FILE`. One row may be given without the brackets of the batch.

    Raises: WrongUsageError.
    """
    specs = {spec.name: spec for spec in inputs}
    tensors = []
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or name not in specs:
            raise WrongUsageError(f"--tensor: must be NAME=JSON with NAME {known_names(name, specs)}, found {option!r}")
        tensors.append(_tensor(specs[name], _data(name, text)))
    missing = [name for name in specs if name not in {tensor.name for tensor in tensors}]
    if missing or len(tensors) > len(specs):
        raise WrongUsageError(f"--tensor: must be given once for each of {', '.join(specs)}")
    return tensors


def _data(name: str, text: str) -> object:
    try:
        parsed: object = json.loads(Path(text[1:]).read_bytes() if text.startswith("@") else text)
    except OSError as error:
        raise WrongUsageError(f"--tensor {name}: {text[1:]}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise WrongUsageError(f"--tensor {name}: must be JSON such as [[1, 2], [3, 4]]: {error}") from error
    return parsed


def _tensor(spec: TensorSpec, data: object) -> Tensor:
    shape = _shape_of(data)
    if len(shape) == len(spec.shape) - 1:
        data, shape = [data], (1, *shape)
    try:
        return tensor_from_json(spec.name, spec.datatype, shape, data)
    except InvalidInputError as error:
        raise WrongUsageError(f"--tensor: {error}") from error


def _shape_of(data: object) -> tuple[int, ...]:
    shape: list[int] = []
    while isinstance(data, list):
        shape.append(len(data))
        if not data:
            break
        data = data[0]
    return tuple(shape)
