"""The infer requests and answers of one bot: what `rest.py` says, compiled for what the bot declares.

Nearly all requests are JSON with one tensor and nothing else, and nearly all answers JSON. Those go a short way; all
others, and all that is wrong, go the long one. Both give the same to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from botshard.oip.fields import json_object
from botshard.oip.float_matrix import FloatMatrixReader
from botshard.oip.rest import (
    EncodedBody,
    InferenceRequest,
    decode_document,
    decode_request,
    encode_response,
)
from botshard.oip.tensors import Tensor, tensor_from_json, tensor_to_json
from botshard.sharding.catalog import TensorSpec

__all__ = ["Codec"]

_MATRIX: Final = 2
_FLOAT_TYPES: Final = ("FP32", "FP64")
_FLOATS: Final = FloatMatrixReader()
_FIELDS: Final = 4
"""`name`, `datatype`, `shape`, `data`."""


class Codec:
    """Reads and writes for one version of a bot."""

    __slots__ = ("_head", "_inputs", "_matrix", "_name", "_outputs", "_version")

    def __init__(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, model_name: str, model_version: str
    ) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self._name = model_name
        self._version = model_version
        (spec,) = inputs if len(inputs) == 1 else (None,)
        is_matrix = spec is not None and len(spec.shape) == _MATRIX and spec.shape[0] == -1
        self._matrix = spec if spec is not None and is_matrix and spec.datatype in _FLOAT_TYPES else None
        """The one input, where it is a matrix of floats."""
        self._head = orjson.dumps({"model_name": model_name, "model_version": model_version})[:-1]

    def decode(self, body: bytes | memoryview, header_length: int | None = None, /) -> InferenceRequest:
        """See `rest.decode_request`."""
        if header_length is not None:
            return decode_request(body, inputs=self._inputs, outputs=self._outputs, header_length=header_length)
        if self._matrix is not None:
            spec = self._matrix
            found = _FLOATS.read(body, spec.name, spec.datatype)
            if found is not None and spec.shape[1] in (-1, found[0].shape[1]):
                tensor, request_id = found
                return InferenceRequest({spec.name: tensor}, request_id)
        document = json_object(body)
        request = self._usual(document)
        if request is None:
            return decode_document(document, None, inputs=self._inputs, outputs=self._outputs)
        return request

    def _usual(self, document: dict[str, Any]) -> InferenceRequest | None:
        """The request if it is one matrix, flat, and at most an id; None: look closer."""
        entries, request_id = document.get("inputs"), document.get("id")
        if type(entries) is not list or len(entries) != 1 or len(document) != 1 + (type(request_id) is str):
            return None
        (entry,) = entries
        if type(entry) is not dict or len(entry) != _FIELDS or len(self._inputs) != 1:
            return None
        (spec,) = self._inputs
        shape, data = entry.get("shape"), entry.get("data")
        if (
            entry.get("name") != spec.name
            or entry.get("datatype") != spec.datatype
            or type(shape) is not list
            or type(data) is not list
            or len(shape) != _MATRIX
            or len(spec.shape) != _MATRIX
            or spec.shape[0] != -1
        ):
            return None
        rows, columns = shape
        if type(rows) is not int or type(columns) is not int or rows < 1 or columns < 1:
            return None
        if spec.shape[1] not in (-1, columns):
            return None
        tensor = tensor_from_json(spec.name, spec.datatype, (rows, columns), data)
        return InferenceRequest({spec.name: tensor}, request_id)

    def encode(self, outputs: Mapping[str, Tensor], request: InferenceRequest, /) -> EncodedBody:
        """See `rest.encode_response`."""
        if request.outputs or request.wants_binary:
            return encode_response(outputs, model_name=self._name, model_version=self._version, request=request)
        parts = [self._head]
        if request.id is not None:
            parts += [b',"id":', orjson.dumps(request.id)]
        separator = b',"outputs":['
        for tensor in outputs.values():
            parts += [separator, _json_tensor(tensor)]
            separator = b","
        return EncodedBody(b"".join([*parts, b"]}"]), None)


def _json_tensor(tensor: Tensor) -> bytes:
    name, datatype, shape, data = tensor
    if isinstance(data, list) or data.dtype.kind != "f" or datatype == "BF16":
        return _with_data(
            name, datatype, shape, orjson.dumps(tensor_to_json(tensor), option=orjson.OPT_SERIALIZE_NUMPY)
        )
    values = orjson.dumps(data.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
    # NaN and infinities are written as null: looking for its first letter costs a tenth of looking at the numbers.
    if b"n" in values:
        tensor_to_json(tensor)
    return _with_data(name, datatype, shape, values)


def _with_data(name: str, datatype: str, shape: tuple[int, ...], values: bytes) -> bytes:
    return b'{"name":%b,"shape":%b,"datatype":"%b","data":%b}' % (
        orjson.dumps(name),
        orjson.dumps(shape),
        datatype.encode(),
        values,
    )
