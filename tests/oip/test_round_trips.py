"""What goes in comes out, for every datatype, in both forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.oip.client import decode_response, encode_request
from botshard.oip.rest import decode_request, encode_response
from botshard.oip.tensors import DATATYPES, Tensor
from botshard.sharding.catalog import TensorSpec
from tests.oip.same import assert_same
from tests.oip.schema import assert_valid
from tests.oip.strategies import ROUND_TRIPS, tensors


def _free(tensor: Tensor) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.datatype, (-1,) * len(tensor.shape))


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BF16"])
@ROUND_TRIPS
@given(data=st.data())
def test_a_json_request_comes_out_as_it_went_in(datatype: str, data: st.DataObject) -> None:
    """Encoded and decoded, a JSON request has the same name, datatype, shape and values."""
    tensor = data.draw(tensors(datatype, binary=False))
    encoded = encode_request([tensor], id="r")
    assert encoded.header_length is None
    assert_valid(orjson.loads(encoded.body), "inference_request")
    assert_same(tensor, decode_request(encoded.body, inputs=[_free(tensor)]).inputs["x"])


@pytest.mark.parametrize("datatype", list(DATATYPES))
@ROUND_TRIPS
@given(data=st.data())
def test_a_binary_request_comes_out_as_it_went_in(datatype: str, data: st.DataObject) -> None:
    """Encoded and decoded, a binary request has the same name, datatype, shape and values."""
    tensor = data.draw(tensors(datatype, binary=True))
    encoded = encode_request([tensor], binary=True)
    request = decode_request(encoded.body, inputs=[_free(tensor)], header_length=encoded.header_length)
    assert request.wants_binary
    assert_same(tensor, request.inputs["x"])


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BF16"])
@ROUND_TRIPS
@given(data=st.data())
def test_a_json_answer_is_valid_and_comes_out_as_it_went_in(datatype: str, data: st.DataObject) -> None:
    """A JSON answer validates against the protocol's description and decodes to the same tensor."""
    tensor = data.draw(tensors(datatype, binary=False))
    encoded = encode_response({"x": tensor}, model_name="b", model_version="3")
    assert_valid(orjson.loads(encoded.body), "inference_response")
    assert_same(tensor, decode_response(encoded.body).outputs["x"])


@pytest.mark.parametrize("datatype", list(DATATYPES))
@ROUND_TRIPS
@given(data=st.data())
def test_a_binary_answer_comes_out_as_it_went_in(datatype: str, data: st.DataObject) -> None:
    """A binary answer decodes to the same tensor."""
    tensor = data.draw(tensors(datatype, binary=True))
    asked = encode_request([tensor], binary=True)
    request = decode_request(asked.body, inputs=[_free(tensor)], header_length=asked.header_length)
    encoded = encode_response({"x": tensor}, model_name="b", request=request)
    assert_same(tensor, decode_response(encoded.body, header_length=encoded.header_length).outputs["x"])


def test_nested_data_is_the_same_as_flat_data() -> None:
    """Data may be nested as its shape says, to any depth."""
    spec = TensorSpec("x", "INT32", (-1, 2, 3))
    nested = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]
    for data in (nested, list(range(1, 13))):
        body = orjson.dumps({"inputs": [{"name": "x", "datatype": "INT32", "shape": [2, 2, 3], "data": data}]})
        array = decode_request(body, inputs=[spec]).inputs["x"].numpy()
        assert array.tolist() == nested


def test_binary_numbers_are_not_copied() -> None:
    """A binary tensor is a read-only view of the body."""
    tensor = Tensor.of("x", np.arange(4, dtype=np.float32).reshape(1, 4))
    encoded = encode_request([tensor], binary=True)
    array = decode_request(encoded.body, inputs=[_free(tensor)], header_length=encoded.header_length).inputs["x"].data
    assert isinstance(array, np.ndarray)
    assert np.shares_memory(array, np.frombuffer(encoded.body, dtype=np.uint8))
    assert not array.flags.writeable


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        pytest.param(1.0, 0x3F80, id="exact"),
        pytest.param(1.00390625, 0x3F80, id="tie goes to even, down"),
        pytest.param(1.01171875, 0x3F82, id="tie goes to even, up"),
        pytest.param(-2.5, 0xC020, id="negative"),
        pytest.param(float("inf"), 0x7F80, id="infinity"),
        pytest.param(float("nan"), 0x7FC0, id="NaN stays NaN"),
    ],
)
def test_bf16_is_rounded_to_the_nearest(value: float, bits: int) -> None:
    """float32 values go out as BF16 rounded to the nearest, ties to even."""
    tensor = Tensor.of("x", np.array([[value]], dtype=np.float32), datatype="BF16")
    request = _binary_request()
    body = encode_response({"x": tensor}, model_name="b", request=request).body
    assert int.from_bytes(body[-2:], "little") == bits


def _binary_request() -> Any:
    encoded = encode_request([Tensor.of("t", ["hi"])], binary=True)
    return decode_request(encoded.body, inputs=[TensorSpec("t", "BYTES", (-1, 1))], header_length=encoded.header_length)


def test_strided_and_big_endian_arrays_are_written_in_row_major_little_endian() -> None:
    """How an array lies in memory does not change its form on the wire."""
    array = np.arange(6, dtype=">f8").reshape(2, 3).T
    plain = np.ascontiguousarray(array, dtype="<f8")
    for request in (None, _binary_request()):
        one, other = (
            encode_response({"x": Tensor.of("x", values)}, model_name="b", request=request) for values in (array, plain)
        )
        assert one == other
