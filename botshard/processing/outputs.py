"""The declared outputs: do the steps make them (at publish), and the tensors themselves (when a batch is there)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from botshard.oip.tensors import DATATYPES, Array, Tensor
from botshard.processing.errors import ModelOutputError
from botshard.processing.scope import Column
from botshard.sharding.catalog import TensorSpec
from botshard.sharding.errors import Problem

__all__ = ["check_outputs", "output_tensor"]

_FLOATS: Final = ("FP16", "FP32", "FP64")


def check_outputs(outputs: Sequence[TensorSpec], columns: Mapping[str, Column]) -> list[Problem]:
    """What of the declared outputs the steps do not make, or make otherwise."""
    problems = []
    for index, spec in enumerate(outputs):
        column = columns.get(spec.name)
        if column is None:
            made = ", ".join(columns) or "nothing"
            problems.append(
                Problem.of(
                    f"outputs[{index}].name",
                    spec.name,
                    f"a column that a postprocess step makes ({made}; `keep` makes one of a model output)",
                )
            )
            continue
        allowed = _FLOATS if column.datatype in _FLOATS else (column.datatype,)
        if spec.datatype not in allowed:
            problems.append(Problem.of(f"outputs[{index}].datatype", spec.datatype, " or ".join(allowed)))
        if not _fits(spec.shape, column.width):
            shape = [-1, -1 if column.width is None else column.width]
            alone = " or [-1]" if column.width == 1 else ""
            problems.append(Problem.of(f"outputs[{index}].shape", list(spec.shape), f"{shape}{alone}"))
    return problems


def output_tensor(spec: TensorSpec, value: Array | list[str], rows: int) -> Tensor:
    """A declared output of what the model gave or a step made.

    Raises: ModelOutputError when it cannot be that.
    """
    if isinstance(value, list):
        shape = (rows,) + (1,) * (len(spec.shape) - 1)
        return Tensor(spec.name, "BYTES", shape, [text.encode() for text in value])
    if value.ndim == 1 and len(spec.shape) == 2:
        value = value.reshape(-1, 1)
    elif value.ndim == 2 and value.shape[1] == 1 and len(spec.shape) == 1:
        value = value.reshape(-1)
    if value.shape[1:] != spec.shape[1:] or value.shape[:1] != (rows,) or spec.shape[:1] != (-1,):
        _check_shape(spec, value, rows)
    if spec.datatype == "BYTES":
        if value.dtype.kind not in "OSU":
            raise ModelOutputError(f"output {spec.name!r} is declared BYTES, but the model gives {value.dtype}")
        return Tensor.of(spec.name, value)
    dtype = DATATYPES[spec.datatype]
    if value.dtype == dtype:
        return Tensor(spec.name, spec.datatype, value.shape, value)
    if not np.can_cast(value.dtype, dtype, casting="same_kind"):
        raise ModelOutputError(f"output {spec.name!r} is declared {spec.datatype}, but the model gives {value.dtype}")
    return Tensor(spec.name, spec.datatype, value.shape, value.astype(dtype, copy=False))


def _check_shape(spec: TensorSpec, value: Array, rows: int) -> None:
    fits = len(value.shape) == len(spec.shape) and all(
        wanted in (-1, size) for size, wanted in zip(value.shape, spec.shape, strict=True)
    )
    if not fits or not value.shape or value.shape[0] != rows:
        raise ModelOutputError(
            f"output {spec.name!r} is declared {list(spec.shape)}, "
            f"but for {rows} rows the model gives {list(value.shape)}"
        )


def _fits(shape: tuple[int, ...], width: int | None) -> bool:
    if len(shape) == 1:
        return width == 1
    return len(shape) == 2 and (width is None or shape[1] in (-1, width))
