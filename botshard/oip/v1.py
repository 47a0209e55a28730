"""The older `:predict` protocol: `{"instances": [...]}` in, `{"predictions": [...]}` out, one element a row.

An instance is the row's value, for a bot with one input, or an object with a value for each input. Where a row holds a
single element (a text of shape `[-1, 1]`), it may stand alone, without arrays around it; predictions are written so.
A prediction is the row's value, for a bot with one output, else an object with a value for each output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from botshard.oip.errors import InvalidInputError
from botshard.oip.fields import json_object, kind_of, named
from botshard.oip.rest import InferenceRequest, check_shape
from botshard.oip.tensors import Tensor, tensor_from_json, tensor_to_json
from botshard.sharding.catalog import TensorSpec

__all__ = ["decode_v1", "encode_v1", "encode_v1_request"]


def decode_v1(body: bytes | memoryview, *, inputs: Sequence[TensorSpec]) -> InferenceRequest:
    """Reads the body of a V1 predict request as an infer request. Raises: InvalidInputError."""
    instances = json_object(body).get("instances")
    if type(instances) is not list or not instances:
        raise InvalidInputError(None, f"instances must be an array of at least one row, found {kind_of(instances)}")
    columns = _columns(instances, inputs)
    return InferenceRequest(inputs={spec.name: _tensor(spec, columns[spec.name]) for spec in inputs})


def encode_v1(outputs: Mapping[str, Tensor]) -> bytes:
    """Writes the answer of a V1 predict request. Raises: UnencodableOutputError."""
    columns = {name: _rows(tensor) for name, tensor in outputs.items()}
    if len(columns) == 1:
        predictions: list[Any] = next(iter(columns.values()))
    else:
        predictions = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_v1_request(instances: Sequence[object]) -> bytes:
    """Writes a V1 predict request (client side)."""
    return orjson.dumps({"instances": list(instances)}, option=orjson.OPT_SERIALIZE_NUMPY)


def _columns(instances: list[Any], inputs: Sequence[TensorSpec]) -> dict[str, list[Any]]:
    names = [spec.name for spec in inputs]
    if len(names) == 1 and type(instances[0]) is not dict:
        return {names[0]: instances}
    for index, instance in enumerate(instances):
        if type(instance) is not dict or instance.keys() != set(names):
            raise InvalidInputError(None, f"instances[{index}] must be an object with exactly {named(names)}")
    return {name: [instance[name] for instance in instances] for name in names}


def _tensor(spec: TensorSpec, values: list[Any]) -> Tensor:
    shape = _shape(values)
    if len(shape) == 1 and all(size in (-1, 1) for size in spec.shape[1:]):
        shape = (len(values), *(1 for _ in spec.shape[1:]))  # a row of one element may stand alone
    check_shape(shape, spec)
    return tensor_from_json(spec.name, spec.datatype, shape, values)


def _shape(values: list[Any]) -> tuple[int, ...]:
    """The shape that the first of the nested arrays have; that all have it is checked with the values."""
    sizes = []
    level: Any = values
    while type(level) is list:
        sizes.append(len(level))
        level = level[0] if level else None
    return tuple(sizes)


def _rows(tensor: Tensor) -> list[Any]:
    """The rows' values; a row of one element is that element. Numbers stay numpy's, which keeps float32 short."""
    values = tensor_to_json(tensor)
    if math.prod(tensor.shape[1:]) == 1:
        return list(values)
    return list(values.reshape(tensor.shape)) if not isinstance(values, list) else _nested(values, tensor.shape)


def _nested(flat: list[str], shape: Sequence[int]) -> list[Any]:
    if len(shape) == 1:
        return list(flat)
    step = math.prod(shape[1:])
    return [_nested(flat[row * step : (row + 1) * step], shape[1:]) for row in range(shape[0])]
