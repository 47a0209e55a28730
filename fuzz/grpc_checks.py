"""What must hold for any message that is read as an infer request over gRPC, and for any answer that is written.

Only the errors that mean "your request is wrong" may come out; what is read fits what the bot declares; a tensor says
the same typed and raw; an answer that is read again says what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from botshard.oip.errors import InvalidInputError
from botshard.oip.grpc_infer import decode_infer, encode_infer, parse_infer
from botshard.oip.grpc_schema import message_class
from botshard.oip.rest import InferenceRequest, RequestedOutput
from botshard.oip.tensors import DATATYPES, Tensor, tensor_to_binary
from botshard.sharding.catalog import TensorSpec
from fuzz.draws import Draws
from fuzz.tensor_checks import SPECS, assert_fits, drawn_tensor, is_same

__all__ = ["check"]

_Request: Final = message_class("ModelInferRequest")
_Response: Final = message_class("ModelInferResponse")
_FIELDS: Final = ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")
_TYPED: Final = {"BOOL": "bool", "INT64": "int64", "UINT8": "uint", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}
"""Of the datatypes in `SPECS`; the others have no typed form."""


def check(data: bytes) -> None:
    """One input. Raises: AssertionError, or whatever defect there is."""
    draws = Draws(data)
    draws.one_of(_WAYS)(draws)


def _any_message(draws: Draws) -> None:
    specs = draws.one_of(SPECS)
    _read(draws.rest(), specs)


def _built_message(draws: Draws) -> None:
    """Tensors that fit, and then perhaps something that does not."""
    specs = draws.one_of(SPECS)
    rows = 1 + draws.byte() % 3
    tensors = [drawn_tensor(draws, spec, rows) for spec in specs]
    raw = _message(tensors, is_raw=True)
    typed = _message(tensors, is_raw=False) if all(spec.datatype in _TYPED for spec in specs) else None
    if draws.is_over or not draws.sometimes(2):
        one = _read(raw.SerializeToString(), specs)
        if typed is not None:
            other = _read(typed.SerializeToString(), specs)
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert all(is_same(one.inputs[name].data, other.inputs[name].data) for name in one.inputs)
        return
    broken = raw if typed is None or draws.sometimes(2) else typed
    for _ in range(1 + draws.byte() % 3):
        _break(draws, broken)
    message = broken.SerializeToString()
    if draws.sometimes(4):
        at = draws.number() % (len(message) + 1)
        message = message[:at] + draws.take(3) + message[at + draws.byte() % 3 :]
    _read(message, specs)


def _answer(draws: Draws) -> None:
    specs = draws.one_of(SPECS)
    outputs = {spec.name: drawn_tensor(draws, spec, 1 + draws.byte() % 3) for spec in specs}
    wanted = tuple(RequestedOutput(spec.name) for spec in specs) if draws.sometimes(2) else ()
    request = InferenceRequest({}, draws.one_of([None, "7", "é"]), {}, wanted, draws.sometimes(2))
    answer = _Response.FromString(encode_infer(outputs, model_name="bot", model_version="1", request=request))
    assert answer.id == (request.id or "")
    assert [item.name for item in answer.outputs] == list(outputs)
    for at, item in enumerate(answer.outputs):
        tensor = outputs[item.name]
        assert (item.datatype, tuple(item.shape)) == (tensor.datatype, tensor.shape)
        if answer.raw_output_contents:
            assert answer.raw_output_contents[at] == tensor_to_binary(tensor)
        else:
            values = list(getattr(item.contents, f"{_TYPED[tensor.datatype]}_contents"))
            if isinstance(tensor.data, list):
                assert values == tensor.data
            else:
                assert is_same(np.array(values, tensor.data.dtype), tensor.data.ravel())


_WAYS: Sequence[Callable[[Draws], None]] = (_built_message, _any_message, _answer)


def _read(message: bytes, specs: Sequence[TensorSpec]) -> InferenceRequest | None:
    try:
        request = decode_infer(parse_infer(message), inputs=specs, outputs=specs)
    except InvalidInputError:
        return None
    assert_fits(request, specs)
    return request


def _message(tensors: Sequence[Tensor], *, is_raw: bool) -> Any:
    message = _Request(model_name="bot", id="7")
    for tensor in tensors:
        item = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if is_raw:
            message.raw_input_contents.append(tensor_to_binary(tensor))
        else:
            values = tensor.data if isinstance(tensor.data, list) else tensor.data.ravel().tolist()
            getattr(item.contents, f"{_TYPED[tensor.datatype]}_contents").extend(values)
    return message


def _break(draws: Draws, message: Any) -> None:
    item = message.inputs[draws.byte() % len(message.inputs)] if message.inputs else message.inputs.add()
    match draws.byte() % 8:
        case 0:
            item.datatype = draws.one_of([*DATATYPES, "", "FP8"])
        case 1:
            item.shape.append(draws.one_of([0, 1, -1, 2**62, 3]))
        case 2:
            del item.shape[draws.byte() % 3 :]
        case 3:
            field = getattr(item.contents, f"{draws.one_of(_FIELDS)}_contents")
            field.append(b"" if "bytes" in str(type(field)).lower() or field is item.contents.bytes_contents else 1)
        case 4:
            message.raw_input_contents.append(draws.take(draws.byte() % 9))
        case 5:
            del message.raw_input_contents[draws.byte() % 2 :]
        case 6:
            item.name = draws.one_of(["", "x", "other", "n"])
        case _:
            message.outputs.add(name=draws.one_of(["x", "other", ""]))
