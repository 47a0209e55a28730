"""Messages of the protocol over gRPC as a client writes and reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from botshard.oip.grpc_schema import message_class
from botshard.oip.tensors import DATATYPES, Tensor, tensor_from_binary, tensor_to_binary

__all__ = ["FIELDS", "infer_request", "read_answer"]

FIELDS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def infer_request(
    bot: str, *tensors: Tensor, raw: bool, version: str = "", request_id: str = "", outputs: Sequence[str] = ()
) -> Any:
    """A `ModelInferRequest`."""
    request = message_class("ModelInferRequest")(model_name=bot, model_version=version, id=request_id)
    for tensor in tensors:
        item = request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            request.raw_input_contents.append(tensor_to_binary(tensor))
        else:
            values = tensor.data if isinstance(tensor.data, list) else tensor.data.ravel().tolist()
            getattr(item.contents, FIELDS[tensor.datatype]).extend(values)
    for name in outputs:
        request.outputs.add(name=name)
    return request


def read_answer(message: bytes) -> tuple[Any, dict[str, Tensor]]:
    """A `ModelInferResponse`, and its tensors."""
    response = message_class("ModelInferResponse").FromString(message)
    found = {}
    for index, item in enumerate(response.outputs):
        shape = tuple(item.shape)
        if response.raw_output_contents:
            raw = memoryview(response.raw_output_contents[index])
            found[item.name] = tensor_from_binary(item.name, item.datatype, shape, raw, finite=False)
        elif item.datatype == "BYTES":
            found[item.name] = Tensor(item.name, "BYTES", shape, list(item.contents.bytes_contents))
        else:
            values = np.array(getattr(item.contents, FIELDS[item.datatype]), DATATYPES[item.datatype])
            found[item.name] = Tensor(item.name, item.datatype, shape, values.reshape(shape))
    return response, found
