"""The infer request and its answer over REST, server side: strict in, never invalid out.

A body is JSON; with `Inference-Header-Content-Length: n` the first n bytes are JSON and the binary tensors follow in
the order of the inputs, each with `parameters.binary_data_size`. Everything is checked against the tensors that the bot
declares, so that what comes out of `decode_request` fits the model. Fields that the protocol does not name are ignored,
as it asks; null is taken as absent.

The answer leaves out what is absent: a null in it would break the protocol's schema. An output goes out as binary data
or as JSON as its own `binary_data` says, else as the request's `binary_data_output` says, else as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson

from botshard.oip.errors import InvalidInputError
from botshard.oip.fields import flag, json_object, kind_of, named, optional_text, parameters_of, shortened, split_body
from botshard.oip.tensors import (
    Tensor,
    tensor_from_binary,
    tensor_from_json,
    tensor_to_binary,
    tensor_to_json,
)
from botshard.sharding.catalog import TensorSpec

__all__ = [
    "EncodedBody",
    "InferenceRequest",
    "RequestedOutput",
    "check_shape",
    "decode_document",
    "decode_request",
    "encode_response",
    "encode_tensors",
    "fit_inputs",
    "parse_header_length",
]

_NO_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType({})
_MAX_DIMENSIONS: Final = 32  # numpy takes 64; nobody sends more than a handful


class RequestedOutput(NamedTuple):
    """An output that the client asked for."""

    name: str
    is_binary: bool | None = None
    """As binary data or as JSON; None: as the request says for all."""


class InferenceRequest(NamedTuple):
    """A request that was decoded and fits the declared inputs."""

    inputs: Mapping[str, Tensor]
    """In the order of the declaration; all have the same number of rows."""
    id: str | None = None
    parameters: Mapping[str, Any] = _NO_PARAMETERS
    outputs: tuple[RequestedOutput, ...] = ()
    """What the client asked for, in its order; empty: everything."""
    wants_binary: bool = False
    """Outputs go out as binary data unless they were asked for otherwise."""

    @property
    def rows(self) -> int:
        """Rows of the batch, at least 1."""
        return next(iter(self.inputs.values())).rows


class EncodedBody(NamedTuple):
    """A body and, where binary tensors follow its JSON, the bytes of that JSON (a header says it)."""

    body: bytes
    header_length: int | None


def parse_header_length(value: str | None, /) -> int | None:
    """The value of the header `Inference-Header-Content-Length`; None: there is no such header."""
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise InvalidInputError(
            None, f"Inference-Header-Content-Length must be a number of bytes, found {value[:40]!r}"
        )
    return int(value)


def decode_request(
    body: bytes | memoryview,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec] | None = None,
    header_length: int | None = None,
) -> InferenceRequest:
    """Reads the body of an infer request.

    Args:
        body: not compressed any more.
        inputs: what the bot declares: each must be there, no other may be.
        outputs: what the bot declares; None: requested outputs are not checked.
        header_length: bytes of JSON before the binary tensors; None: the body is JSON alone.

    Raises: InvalidInputError, naming the tensor where there is one.
    """
    head, tail = split_body(body, header_length)
    return decode_document(json_object(head), tail, inputs=inputs, outputs=outputs)


def decode_document(
    document: dict[str, Any],
    tail: memoryview | None,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec] | None,
) -> InferenceRequest:
    """Reads the JSON of an infer request that was parsed; see `decode_request`.

    Args:
        document: the JSON.
        tail: the binary tensors behind it; None: the body is JSON alone.
        inputs: what the bot declares.
        outputs: what the bot declares; None: requested outputs are not checked.
    """
    parameters = parameters_of(document, None)
    tensors = _tensors(document, tail, inputs)
    known = None if outputs is None else {spec.name for spec in outputs}
    return InferenceRequest(
        inputs=tensors,
        id=optional_text(document, "id"),
        parameters=parameters,
        outputs=_requested(document, known),
        wants_binary=flag(parameters, "binary_data_output", None) or False,
    )


def encode_response(
    outputs: Mapping[str, Tensor],
    *,
    model_name: str,
    model_version: str | None = None,
    request: InferenceRequest | None = None,
    parameters: Mapping[str, object] | None = None,
) -> EncodedBody:
    """Writes the answer: the outputs that `request` asked for in the form that it asked for.

    Raises: UnencodableOutputError for what the form cannot say, InvalidInputError for an output that does not exist.
    """
    document: dict[str, object] = {"model_name": model_name}
    if model_version is not None:
        document["model_version"] = model_version
    if request is not None and request.id is not None:
        document["id"] = request.id
    if parameters:
        document["parameters"] = parameters
    binary = request is not None and request.wants_binary
    if request is None or not request.outputs:
        chosen = [(tensor, binary) for tensor in outputs.values()]
    else:
        chosen = [
            (_output(outputs, wanted.name), binary if wanted.is_binary is None else wanted.is_binary)
            for wanted in request.outputs
        ]
    return encode_tensors(document, "outputs", chosen)


def encode_tensors(document: dict[str, object], key: str, tensors: Sequence[tuple[Tensor, bool]]) -> EncodedBody:
    """Writes `document` with tensors under `key`; those with True go behind the JSON as binary data."""
    entries: list[dict[str, object]] = []
    chunks: list[bytes] = []
    for tensor, is_binary in tensors:
        entry: dict[str, object] = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype}
        if is_binary:
            chunk = tensor_to_binary(tensor)
            entry["parameters"] = {"binary_data_size": len(chunk)}
            chunks.append(chunk)
        else:
            entry["data"] = tensor_to_json(tensor)
        entries.append(entry)
    document[key] = entries
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not any(is_binary for _, is_binary in tensors):
        return EncodedBody(head, None)
    return EncodedBody(b"".join([head, *chunks]), len(head))


def fit_inputs(tensors: Iterable[Tensor], specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """The tensors in the declared order, once each was found to be what is declared (for other ways in than REST).

    Raises: InvalidInputError.
    """
    declared = {spec.name: spec for spec in specs}
    found: dict[str, Tensor] = {}
    for tensor in tensors:
        spec = declared.get(tensor.name)
        if spec is None:
            raise InvalidInputError(shortened(tensor.name), f"is unknown; the inputs are {named(declared)}")
        if tensor.name in found:
            raise InvalidInputError(spec.name, "is there twice")
        if tensor.datatype != spec.datatype:
            raise InvalidInputError(spec.name, f"datatype must be {spec.datatype}, found {tensor.datatype}")
        check_shape(tensor.shape, spec)
        found[spec.name] = tensor
    return _complete(found, specs)


def check_shape(shape: tuple[int, ...], spec: TensorSpec) -> None:
    """Checks a shape against the declared one; every size is at least 1. Raises: InvalidInputError."""
    fits = len(shape) == len(spec.shape)
    if fits:
        for size, wanted in zip(shape, spec.shape, strict=True):
            if wanted not in (-1, size):
                fits = False
    if not fits:
        raise InvalidInputError(
            spec.name, f"shape {shortened(str(list(shape)))} does not fit the declared {list(spec.shape)} (-1 is free)"
        )
    if 0 in shape:
        raise InvalidInputError(spec.name, f"shape {shortened(str(list(shape)))} holds nothing; sizes are at least 1")


# --- reading ---------------------------------------------------------------------------------------------------------


def _tensors(document: dict[str, Any], tail: memoryview | None, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    entries = document.get("inputs")
    if type(entries) is not list:
        raise InvalidInputError(None, f"inputs must be an array of tensors, found {kind_of(entries)}")
    declared = {spec.name: spec for spec in specs}
    found: dict[str, Tensor] = {}
    offset = 0
    for index, entry in enumerate(entries):
        spec = _declared(entry, index, declared)
        if spec.name in found:
            raise InvalidInputError(spec.name, "is there twice")
        tensor, offset = _tensor(entry, spec, tail, offset)
        found[spec.name] = tensor
    if tail is not None and offset != len(tail):
        raise InvalidInputError(
            None,
            f"{len(tail) - offset} bytes follow the last binary tensor (their sizes are parameters.binary_data_size)",
        )
    return _complete(found, specs)


def _declared(entry: object, index: int, declared: Mapping[str, TensorSpec]) -> TensorSpec:
    if type(entry) is not dict:
        raise InvalidInputError(None, f"inputs[{index}] must be an object, found {kind_of(entry)}")
    name = entry.get("name")
    if type(name) is not str:
        raise InvalidInputError(None, f"inputs[{index}].name must be text, found {kind_of(name)}")
    spec = declared.get(name)
    if spec is None:
        raise InvalidInputError(shortened(name), f"is unknown; the inputs are {named(declared)}")
    return spec


def _tensor(entry: dict[str, Any], spec: TensorSpec, tail: memoryview | None, offset: int) -> tuple[Tensor, int]:
    """The tensor and the offset in `tail` behind it."""
    name = spec.name
    datatype = entry.get("datatype")
    if datatype != spec.datatype:
        found = shortened(datatype) if type(datatype) is str else kind_of(datatype)
        raise InvalidInputError(name, f"datatype must be {spec.datatype}, found {found}")
    shape = _shape(entry.get("shape"), spec)
    parameters = parameters_of(entry, name)
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in entry:
            raise InvalidInputError(name, "has neither data nor parameters.binary_data_size")
        return tensor_from_json(name, datatype, shape, entry["data"]), offset
    if type(size) is not int or size < 0:
        raise InvalidInputError(name, "parameters.binary_data_size must be a number of bytes")
    if "data" in entry:
        raise InvalidInputError(name, "has both data and parameters.binary_data_size")
    if tail is None:
        raise InvalidInputError(name, "binary data needs the header Inference-Header-Content-Length")
    end = offset + size
    if end > len(tail):
        raise InvalidInputError(
            name, f"binary_data_size is {size}, but {len(tail) - offset} bytes are left of the body"
        )
    return tensor_from_binary(name, datatype, shape, tail[offset:end]), end


def _shape(value: object, spec: TensorSpec) -> tuple[int, ...]:
    if type(value) is not list or len(value) > _MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in value):
        raise InvalidInputError(spec.name, f"shape must be an array of sizes that fits {list(spec.shape)}")
    shape = tuple(value)
    check_shape(shape, spec)
    return shape


def _complete(found: dict[str, Tensor], specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """In the declared order; none missing, all with the same number of rows."""
    ordered: dict[str, Tensor] = {}
    rows: int | None = None
    for spec in specs:
        tensor = found.get(spec.name)
        if tensor is None:
            raise InvalidInputError(spec.name, f"is missing ({spec.datatype}, shape {list(spec.shape)})")
        if rows is None:
            rows = tensor.rows
        elif tensor.rows != rows:
            raise InvalidInputError(spec.name, f"has {tensor.rows} rows, but {specs[0].name!r} has {rows}")
        ordered[spec.name] = tensor
    return ordered


def _requested(document: dict[str, Any], known: set[str] | None) -> tuple[RequestedOutput, ...]:
    entries = document.get("outputs")
    if entries is None:
        return ()
    if type(entries) is not list:
        raise InvalidInputError(None, f"outputs must be an array, found {kind_of(entries)}")
    requested: dict[str, RequestedOutput] = {}
    for index, entry in enumerate(entries):
        name = entry.get("name") if type(entry) is dict else None
        if type(name) is not str:
            raise InvalidInputError(None, f"outputs[{index}] must be an object with a name")
        if known is not None and name not in known:
            raise InvalidInputError(shortened(name), f"is unknown; the outputs are {named(known)}", kind="output")
        if name in requested:
            raise InvalidInputError(shortened(name), "is asked for twice", kind="output")
        parameters = parameters_of(entry, name, kind="output")
        requested[name] = RequestedOutput(name, flag(parameters, "binary_data", name))
    return tuple(requested.values())


def _output(outputs: Mapping[str, Tensor], name: str) -> Tensor:
    tensor = outputs.get(name)
    if tensor is None:
        raise InvalidInputError(shortened(name), f"is unknown; the outputs are {named(outputs)}", kind="output")
    return tensor
