"""The infer request and its answer over gRPC, server side; the counterpart of `rest`.

A request's tensors are raw (all in `raw_input_contents`, as REST's binary form) or typed (each in `contents`), and its
answer's are the same. `FP16` and `BF16` have no typed form: an answer that holds one is raw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from botshard.oip.errors import InvalidInputError
from botshard.oip.fields import UNSUPPORTED_PARAMETERS, named, shortened
from botshard.oip.grpc_schema import DecodeError, message_class
from botshard.oip.rest import InferenceRequest, RequestedOutput, check_shape, fit_inputs
from botshard.oip.tensors import DATATYPES, Array, Tensor, tensor_from_binary, tensor_to_binary
from botshard.sharding.catalog import TensorSpec

__all__ = ["decode_infer", "encode_infer", "parse_infer"]

_ModelInferRequest: Final = message_class("ModelInferRequest")
_ModelInferResponse: Final = message_class("ModelInferResponse")

_MAX_DIMENSIONS: Final = 32
_WIRE: Final[Mapping[str, tuple[str, np.dtype[Any]]]] = {
    "BOOL": ("bool_contents", np.dtype("?")),
    "INT8": ("int_contents", np.dtype("i4")),
    "INT16": ("int_contents", np.dtype("i4")),
    "INT32": ("int_contents", np.dtype("i4")),
    "INT64": ("int64_contents", np.dtype("i8")),
    "UINT8": ("uint_contents", np.dtype("u4")),
    "UINT16": ("uint_contents", np.dtype("u4")),
    "UINT32": ("uint_contents", np.dtype("u4")),
    "UINT64": ("uint64_contents", np.dtype("u8")),
    "FP32": ("fp32_contents", np.dtype("f4")),
    "FP64": ("fp64_contents", np.dtype("f8")),
    "BYTES": ("bytes_contents", np.dtype("O")),
}
"""Where the values of a datatype are in typed contents, and as which type; others have no typed form."""


def parse_infer(message: bytes, /) -> Any:
    """A `ModelInferRequest`. Raises: InvalidInputError."""
    try:
        return _ModelInferRequest.FromString(message)
    except DecodeError as error:
        raise InvalidInputError(None, "the message is not a ModelInferRequest") from error


def decode_infer(
    request: Any, /, *, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec] | None = None
) -> InferenceRequest:
    """What a request asks for; numbers of raw tensors are views of the message's bytes.

    Args:
        request: a `ModelInferRequest`.
        inputs: what the bot declares: each must be there, no other may be.
        outputs: what the bot declares; None: requested outputs are not checked.

    Raises: InvalidInputError, naming the tensor where there is one.
    """
    items, raw = request.inputs, request.raw_input_contents
    if len(raw) == len(items) == len(inputs) == 1 and not request.outputs and not request.parameters:
        tensor = _usual_tensor(items[0], raw[0], inputs[0])
        if tensor is not None:
            return InferenceRequest({tensor.name: tensor}, request.id or None, wants_binary=True)
    if raw and len(raw) != len(items):
        raise InvalidInputError(
            None, f"raw_input_contents holds {len(raw)} tensors for {len(items)} inputs; it holds all of them or none"
        )
    _check_parameters(request.parameters, None)
    tensors = (
        [_raw_tensor(item, contents) for item, contents in zip(items, raw, strict=True)]
        if raw
        else [_typed_tensor(item) for item in items]
    )
    return InferenceRequest(
        inputs=fit_inputs(tensors, inputs),
        id=request.id or None,
        outputs=_requested(request.outputs, outputs) if request.outputs else (),
        wants_binary=bool(raw),
    )


def encode_infer(
    outputs: Mapping[str, Tensor], /, *, model_name: str, model_version: str, request: InferenceRequest
) -> bytes:
    """A `ModelInferResponse` with what `request` asked for, raw if it was.

    Raises: InvalidInputError for an output that does not exist.
    """
    if request.outputs:
        for wanted in request.outputs:
            if wanted.name not in outputs:
                raise _unknown_output(wanted.name, outputs)
        chosen = [outputs[wanted.name] for wanted in request.outputs]
    else:
        chosen = list(outputs.values())
    response = _ModelInferResponse(model_name=model_name, model_version=model_version, id=request.id or "")
    is_raw = request.wants_binary or any(tensor.datatype not in _WIRE for tensor in chosen)
    for tensor in chosen:
        item = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if is_raw:
            response.raw_output_contents.append(tensor_to_binary(tensor))
        else:
            values = tensor.data if isinstance(tensor.data, list) else tensor.data.reshape(-1).tolist()
            getattr(item.contents, _WIRE[tensor.datatype][0]).extend(values)
    message: bytes = response.SerializeToString()
    return message


def _usual_tensor(item: Any, contents: bytes, spec: TensorSpec) -> Tensor | None:
    """The tensor of nearly all requests, which is what is declared; None: look closer."""
    shape = tuple(item.shape)
    if (
        item.datatype != spec.datatype
        or item.name != spec.name
        or len(shape) != len(spec.shape)
        or not shape
        or min(shape) < 1
        or item.parameters
        or item.HasField("contents")
    ):
        return None
    check_shape(shape, spec)
    return tensor_from_binary(spec.name, spec.datatype, shape, memoryview(contents))


def _head(item: Any) -> tuple[str, str, tuple[int, ...]]:
    """Name, datatype and shape of an input."""
    name = item.name
    shape = tuple(item.shape)
    if len(shape) > _MAX_DIMENSIONS or (shape and min(shape) < 1):
        raise InvalidInputError(
            shortened(name), f"shape must be at most {_MAX_DIMENSIONS} sizes of at least 1, found {list(shape)[:8]}"
        )
    if item.parameters:
        _check_parameters(item.parameters, name)
    return name, item.datatype, shape


def _raw_tensor(item: Any, contents: bytes) -> Tensor:
    name, datatype, shape = _head(item)
    if item.HasField("contents"):
        raise InvalidInputError(shortened(name), "has contents as well as raw_input_contents")
    return tensor_from_binary(name, datatype, shape, memoryview(contents))


def _typed_tensor(item: Any) -> Tensor:
    name, datatype, shape = _head(item)
    if datatype not in _WIRE:
        if datatype in DATATYPES:
            raise InvalidInputError(shortened(name), f"{datatype} has no typed contents; send raw_input_contents")
        raise InvalidInputError(
            shortened(name), f"datatype must be one of {', '.join(DATATYPES)}, found {shortened(datatype)!r}"
        )
    field, wire = _WIRE[datatype]
    values = getattr(item.contents, field)
    count = math.prod(shape)
    if len(values) != count:
        raise InvalidInputError(
            shortened(name), f"contents.{field} holds {len(values)} elements, but shape {list(shape)} takes {count}"
        )
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, list(values))
    return Tensor(name, datatype, shape, _fitting(name, datatype, np.fromiter(values, wire, count)).reshape(shape))


def _fitting(name: str, datatype: str, values: Array) -> Array:
    """Values that came in a wider type, or as floats, as what the datatype says."""
    dtype = DATATYPES[datatype]
    if dtype.kind == "f" and not np.isfinite(values).all():
        raise InvalidInputError(shortened(name), "contents hold NaN or an infinity; numbers must be finite")
    if values.dtype == dtype:
        return values
    limits = np.iinfo(dtype)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        raise InvalidInputError(shortened(name), f"contents of {datatype} must lie in {limits.min} … {limits.max}")
    return values.astype(dtype)


def _requested(items: Any, specs: Sequence[TensorSpec] | None) -> tuple[RequestedOutput, ...]:
    known = None if specs is None else [spec.name for spec in specs]
    requested: dict[str, RequestedOutput] = {}
    for item in items:
        name = item.name
        if known is not None and name not in known:
            raise _unknown_output(name, known)
        if name in requested:
            raise InvalidInputError(shortened(name), "is asked for twice", kind="output")
        _check_parameters(item.parameters, name, kind="output")
        requested[name] = RequestedOutput(name, None)
    return tuple(requested.values())


def _check_parameters(parameters: Any, tensor: str | None, *, kind: str = "input") -> None:
    for name in parameters:
        if name in UNSUPPORTED_PARAMETERS:
            raise InvalidInputError(
                tensor if tensor is None else shortened(tensor), f"parameters.{name} is not supported", kind=kind
            )


def _unknown_output(name: str, known: Any) -> InvalidInputError:
    return InvalidInputError(shortened(name), f"is unknown; the outputs are {named(known)}", kind="output")
