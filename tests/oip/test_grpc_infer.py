"""The protocol's messages over gRPC: what goes in comes out, what is wrong is refused by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.oip.errors import InvalidInputError
from botshard.oip.grpc_infer import decode_infer, encode_infer, parse_infer
from botshard.oip.grpc_schema import message_class, model_of
from botshard.oip.tensors import DATATYPES, Tensor
from botshard.sharding.catalog import TensorSpec
from tests.oip.grpc_messages import FIELDS, infer_request, read_answer
from tests.oip.same import assert_same
from tests.oip.strategies import ROUND_TRIPS, tensors

ROW: Final = Tensor.of("x", np.array([[1, 2, 3, 4]], np.float32))
SPEC: Final = TensorSpec("x", "FP32", (-1, 4))


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [*((name, True) for name in DATATYPES), *((name, False) for name in FIELDS)],
    ids=[*(f"{name} raw" for name in DATATYPES), *(f"{name} typed" for name in FIELDS)],
)
@ROUND_TRIPS
@given(data=st.data())
def test_any_tensor_comes_back_as_it_was_sent(datatype: str, data: st.DataObject, *, raw: bool) -> None:
    """Over the wire in and out again, in the form of the request."""
    tensor = data.draw(tensors(datatype, binary=True))
    message = infer_request("echo", tensor, raw=raw, request_id="r").SerializeToString()
    spec = TensorSpec("x", datatype, (-1,) * len(tensor.shape))
    decoded = decode_infer(parse_infer(message), inputs=[spec], outputs=[spec])
    assert_same(tensor, decoded.inputs["x"])
    response, outputs = read_answer(encode_infer(decoded.inputs, model_name="echo", model_version="3", request=decoded))
    assert (response.model_name, response.model_version, response.id) == ("echo", "3", "r")
    assert bool(response.raw_output_contents) == raw
    assert_same(tensor, outputs["x"])


def test_an_answer_without_a_typed_form_is_raw() -> None:
    """FP16 has no field of its own: the whole answer is raw then, for it cannot be both."""
    decoded = decode_infer(infer_request("b", ROW, raw=False), inputs=[SPEC])
    outputs = {"h": Tensor.of("h", np.array([[1.5]], np.float16)), "x": ROW}
    response, found = read_answer(encode_infer(outputs, model_name="b", model_version="1", request=decoded))
    assert len(response.raw_output_contents) == 2
    assert_same(outputs["h"], found["h"])


def test_only_requested_outputs_are_written() -> None:
    """In the order of the request; one that does not exist is refused, before and after the model."""
    specs = [SPEC, TensorSpec("y", "FP32", (-1, 4))]
    outputs = {"x": ROW, "y": Tensor.of("y", ROW.numpy() * 2)}
    decoded = decode_infer(infer_request("b", ROW, raw=True, outputs=["y", "x"]), inputs=[SPEC], outputs=specs)
    _, found = read_answer(encode_infer(outputs, model_name="b", model_version="1", request=decoded))
    assert list(found) == ["y", "x"]
    with pytest.raises(InvalidInputError, match="output 'z': is unknown; the outputs are x, y"):
        decode_infer(infer_request("b", ROW, raw=True, outputs=["z"]), inputs=[SPEC], outputs=specs)
    unchecked = decode_infer(infer_request("b", ROW, raw=True, outputs=["z"]), inputs=[SPEC])
    with pytest.raises(InvalidInputError, match="output 'z': is unknown"):
        encode_infer(outputs, model_name="b", model_version="1", request=unchecked)


def _changed(*, raw: bool = True, **changes: Any) -> Any:
    request = infer_request("b", ROW, raw=raw)
    for name, value in changes.items():
        if name == "shape":
            del request.inputs[0].shape[:]
            request.inputs[0].shape.extend(value)
        else:
            setattr(request.inputs[0], name, value)
    return request


def _two_raw() -> Any:
    request = infer_request("b", ROW, raw=True)
    request.raw_input_contents.append(b"")
    return request


def _both() -> Any:
    request = infer_request("b", ROW, raw=False)
    request.raw_input_contents.append(bytes(16))
    return request


def _shared_memory() -> Any:
    request = infer_request("b", ROW, raw=True)
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    return request


def _narrow(value: int) -> Any:
    request = message_class("ModelInferRequest")(model_name="b")
    item = request.inputs.add(name="x", datatype="INT8", shape=[1, 1])
    item.contents.int_contents.append(value)
    return request


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        pytest.param(infer_request("b", raw=False), "input 'x': is missing", id="no input"),
        pytest.param(infer_request("b", ROW, ROW, raw=True), "is there twice", id="twice"),
        pytest.param(_changed(name="z"), "input 'z': is unknown; the inputs are x", id="unknown"),
        pytest.param(_changed(datatype="FP64"), "16 bytes of binary data, but FP64", id="other size"),
        pytest.param(_changed(datatype="INT32"), "datatype must be FP32, found INT32", id="other datatype"),
        pytest.param(_changed(datatype="FP8"), "datatype must be one of BOOL", id="no datatype, raw"),
        pytest.param(_changed(raw=False, datatype="FP8"), "datatype must be one of BOOL", id="no datatype, typed"),
        pytest.param(_changed(raw=False, datatype="FP16"), "FP16 has no typed contents", id="FP16 typed"),
        pytest.param(_changed(raw=False, datatype="FP64"), r"fp64_contents holds 0 elements", id="wrong field"),
        pytest.param(_changed(shape=[1, 5]), r"shape \[1, 5\] does not fit", id="wrong shape, raw"),
        pytest.param(_changed(raw=False, shape=[1, 5]), r"holds 4 elements", id="wrong shape, typed"),
        pytest.param(_changed(shape=[4, 1]), r"shape \[4, 1\] does not fit", id="shape not declared"),
        pytest.param(_changed(shape=[-1, -4]), "sizes of at least 1", id="negative shape"),
        pytest.param(_changed(shape=[1] * 40), "at most 32 sizes", id="too many dimensions"),
        pytest.param(_changed(shape=[1 << 62, 4]), "16 bytes of binary data", id="huge shape"),
        pytest.param(_two_raw(), "holds 2 tensors for 1 inputs", id="one raw too many"),
        pytest.param(_both(), "has contents as well as raw", id="raw and typed"),
        pytest.param(_shared_memory(), "parameters.shared_memory_region is not supported", id="shared memory"),
        pytest.param(_narrow(128), "contents of INT8 must lie in -128 … 127", id="too large for INT8"),
        pytest.param(infer_request("b", ROW, raw=True, outputs=["y", "y"]), "is asked for twice", id="output twice"),
    ],
)
def test_what_is_wrong_is_refused_by_name(request_: Any, said: str) -> None:
    """Before anything is computed."""
    with pytest.raises(InvalidInputError, match=said):
        decode_infer(request_, inputs=[SPEC])


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_numbers_must_be_finite(*, raw: bool) -> None:
    """As over REST, where JSON has no number for the others."""
    tensor = Tensor.of("x", np.array([[1, np.nan, 3, 4]], np.float32))
    with pytest.raises(InvalidInputError, match="must be finite"):
        decode_infer(infer_request("b", tensor, raw=raw), inputs=[SPEC])


def test_what_is_no_message_is_refused() -> None:
    """Garbage is the caller's fault."""
    with pytest.raises(InvalidInputError, match="not a ModelInferRequest"):
        parse_infer(b"\xff\xff\xff")


_AGREES: Final = """
import sys
from importlib import import_module
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from botshard.oip.grpc_schema import FILE

def fields(file):
    found = {}
    def add(message, prefix):
        for field in message.field:
            found[prefix + message.name, field.number] = (field.name, field.label, field.type, field.type_name)
        for nested in message.nested_type:
            add(nested, prefix + message.name + ".")
    for message in file.message_type:
        add(message, "")
    return found

theirs = FileDescriptorProto()
import_module(sys.argv[1]).DESCRIPTOR.CopyToProto(theirs)
ours, messages = fields(FILE), {message.name for message in FILE.message_type}
for (message, number), field in fields(theirs).items():
    if message.split(".")[0] in messages and ours.get((message, number)) != field:
        print(message, number, field[0])
"""


@pytest.mark.parametrize(
    ("module", "differences"),
    [
        pytest.param(
            "kserve.protocol.grpc.grpc_predict_v2_pb2",
            ["RepositoryModelLoadRequest 1 model_name", "RepositoryModelUnloadRequest 1 model_name"],
            id="KServe",
        ),
        pytest.param(
            "tritonclient.grpc.service_pb2",
            ["RepositoryModelLoadRequest 1 repository_name", "RepositoryModelUnloadRequest 1 repository_name"],
            id="Triton",
        ),
    ],
)
def test_our_messages_are_theirs(module: str, differences: list[str]) -> None:
    """Same numbers, names and types as in KServe's and Triton's files, which one process cannot import together."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _AGREES, module], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == differences


def test_a_model_is_found_where_either_client_puts_it() -> None:
    """KServe's field 1, Triton's field 2, also with a repository in field 1."""
    load = message_class("RepositoryModelLoadRequest")
    assert model_of(load(model_or_repository="bot")) == "bot"
    assert model_of(load(model_name="bot")) == "bot"
    assert model_of(load(model_or_repository="some repository", model_name="bot")) == "bot"
