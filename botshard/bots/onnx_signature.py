"""Does what a bot declares fit its ONNX graph: names, datatypes and shapes of what goes in and of what comes out?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from botshard.bots.onnx_proto import Dimension, Graph, ValueType
from botshard.sharding.catalog import TensorSpec
from botshard.sharding.errors import Problem

__all__ = ["check_signature", "match_inputs", "match_outputs"]

_MADE_FROM: Final = MappingProxyType({"FP64": ("FP32",), "INT64": ("INT32",), "INT32": ("INT64",)})
"""Datatypes that a runtime turns into the one that the graph takes; a whole number too large for it is refused."""
_KINDS: Final = (
    ("FP16", "FP32", "FP64"),
    ("INT8", "INT16", "INT32", "INT64"),
    ("UINT8", "UINT16", "UINT32", "UINT64"),
)
"""Datatypes that an output may be declared as, whichever of the same line the graph gives."""


def check_signature(
    graph: Graph,
    /,
    *,
    given: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    has_steps_before: bool,
    has_steps_after: bool,
) -> list[Problem]:
    """Everything that does not fit; fields are named as in `bot.yaml`.

    Args:
        graph: of the model.
        given: what the model gets, after the steps before it.
        outputs: what the bot declares.
        has_steps_before: whether there are any; then they are told about, not the inputs.
        has_steps_after: whether steps make the outputs of what the model gives.
    """
    where = "preprocess" if has_steps_before else "inputs"
    names = match_inputs(graph, given)
    if names is None:
        wanted = ", ".join(_shown(value) for value in graph.inputs)
        found = ", ".join(tensor.name for tensor in given) or "no tensor"
        return [Problem(where, found, f"what the model takes: {wanted}")]
    values = {value.name: value for value in graph.inputs}
    problems = []
    for index, tensor in enumerate(given):
        field = where if has_steps_before else f"inputs[{index}]"
        problems += _check_input(field, tensor, values[names[tensor.name]], may_be_free=has_steps_before)
    return problems if has_steps_after else problems + _check_outputs(graph, outputs)


def match_inputs(graph: Graph, given: Sequence[TensorSpec], /) -> Mapping[str, str] | None:
    """The graph's name for each tensor: by name, or the only one for the only one; None where they do not match."""
    names = [tensor.name for tensor in given]
    if len(names) == len(graph.inputs) == 1:
        return {names[0]: graph.inputs[0].name}
    wanted = {value.name for value in graph.inputs}
    return {name: name for name in names} if len(names) == len(wanted) == len(wanted.intersection(names)) else None


def match_outputs(graph: Graph, outputs: Sequence[TensorSpec], /) -> Mapping[str, str] | None:
    """The graph's name for each declared output that no step makes: by name, or the only one for the only one."""
    names = [tensor.name for tensor in outputs]
    there = {value.name for value in graph.outputs}
    if there.issuperset(names):
        return {name: name for name in names}
    return {names[0]: graph.outputs[0].name} if len(names) == len(there) == 1 else None


def _check_input(field: str, tensor: TensorSpec, value: ValueType, *, may_be_free: bool) -> list[Problem]:
    problems = []
    if tensor.datatype not in (value.kind, *_MADE_FROM.get(value.kind, ())):
        expected = f"{value.kind}, which the model takes as {value.name!r}"
        problems.append(Problem.of(_below(field, "datatype"), tensor.datatype, expected))
    if value.dimensions and isinstance(value.dimensions[0], int):
        expected = f"a model whose first dimension is free, the batch (that of {value.name!r} is {value.dimensions[0]})"
        problems.append(Problem("model.file", f"the input {_shown(value)}", expected))
    elif not _fits(tensor.shape, value.dimensions, may_be_free=may_be_free):
        expected = f"{_sizes(value.dimensions)}, which the model takes as {value.name!r}"
        problems.append(Problem.of(_below(field, "shape"), list(tensor.shape), expected))
    return problems


def _check_outputs(graph: Graph, outputs: Sequence[TensorSpec]) -> list[Problem]:
    names = match_outputs(graph, outputs)
    gives = ", ".join(_shown(value) for value in graph.outputs)
    if names is None:
        return [
            Problem("outputs", ", ".join(tensor.name for tensor in outputs), f"some of what the model gives: {gives}")
        ]
    values = {value.name: value for value in graph.outputs}
    problems = []
    for index, tensor in enumerate(outputs):
        value = values[names[tensor.name]]
        allowed = next((line for line in _KINDS if value.kind in line), (value.kind,))
        if tensor.datatype not in allowed:
            expected = f"{' or '.join(allowed)}: the model gives {value.kind}"
            problems.append(Problem.of(f"outputs[{index}].datatype", tensor.datatype, expected))
        if not _fits_output(tensor.shape, value.dimensions):
            expected = f"{_sizes(value.dimensions)}, which the model gives"
            problems.append(Problem.of(f"outputs[{index}].shape", list(tensor.shape), expected))
    return problems


def _fits_output(shape: tuple[int, ...], dimensions: tuple[Dimension, ...] | None) -> bool:
    """One value a row may be declared with and without its dimension, as answers are written either way."""
    if dimensions is None or _fits(shape, dimensions, may_be_free=True):
        return True
    column = (*dimensions, 1) if len(dimensions) == 1 else dimensions[:1]
    return (
        {len(dimensions), len(shape)} == {1, 2}
        and 1 in (*dimensions[1:], *column[1:])
        and _fits(shape, column, may_be_free=True)
    )


def _fits(shape: tuple[int, ...], dimensions: tuple[Dimension, ...] | None, *, may_be_free: bool) -> bool:
    if dimensions is None:
        return True
    return len(shape) == len(dimensions) and all(
        isinstance(size, str) or declared == size or (declared == -1 and may_be_free)
        for declared, size in zip(shape[1:], dimensions[1:], strict=True)
    )


def _below(field: str, name: str) -> str:
    return f"{field}.{name}" if field.endswith("]") else field


def _sizes(dimensions: tuple[Dimension, ...] | None) -> str:
    if dimensions is None:
        return "any shape"
    return str([size if isinstance(size, int) else -1 for size in dimensions])


def _shown(value: ValueType) -> str:
    return f"{value.name} {value.kind} {_sizes(value.dimensions)}"
