"""Our binary form is the one of tritonclient, byte by byte, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tritonclient.http
import tritonclient.utils
from hypothesis import given
from hypothesis import strategies as st

from botshard.oip.client import encode_request
from botshard.oip.rest import InferenceRequest, decode_request, encode_response
from botshard.oip.tensors import Tensor, tensor_to_binary
from botshard.sharding.catalog import TensorSpec
from tests.oip.strategies import NUMBERS, ROUND_TRIPS, arrays

_DATATYPES = [*NUMBERS, "BYTES", "BF16"]


def _sample(datatype: str) -> np.ndarray[Any, Any]:
    if datatype == "BYTES":
        return np.array([["héllo".encode(), b""], [b"\xff\x00", b"x" * 300]], dtype=object)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    dtype = tritonclient.utils.triton_to_np_dtype(datatype)
    return np.array([[0, 1], [2, 100]], dtype=dtype)


def _triton_input(datatype: str, array: np.ndarray[Any, Any], *, binary: bool) -> Any:
    tensor = tritonclient.http.InferInput("v", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


@pytest.mark.parametrize("datatype", _DATATYPES)
def test_a_binary_request_of_tritonclient_is_understood(datatype: str) -> None:
    """What tritonclient sends decodes to what it was given."""
    array = _sample(datatype)
    body, header_length = tritonclient.http.InferenceServerClient.generate_request_body(
        [_triton_input(datatype, array, binary=True)]
    )
    spec = TensorSpec("v", datatype, (-1, 2))
    found = decode_request(body, inputs=[spec], header_length=header_length).inputs["v"]
    np.testing.assert_array_equal(found.numpy(), array)


@pytest.mark.parametrize("datatype", [name for name in _DATATYPES if name not in ("FP16", "BF16", "BYTES")])
def test_a_json_request_of_tritonclient_is_understood(datatype: str) -> None:
    """What tritonclient sends as JSON decodes to what it was given."""
    array = _sample(datatype)
    body, header_length = tritonclient.http.InferenceServerClient.generate_request_body(
        [_triton_input(datatype, array, binary=False)]
    )
    found = decode_request(body, inputs=[TensorSpec("v", datatype, (-1, 2))], header_length=header_length).inputs["v"]
    np.testing.assert_array_equal(found.numpy(), array)


@pytest.mark.parametrize("datatype", _DATATYPES)
def test_our_binary_data_is_that_of_tritonclient(datatype: str) -> None:
    """Both serialise the same array to the same bytes."""
    array = _sample(datatype)
    theirs = _triton_input(datatype, array, binary=True)._get_binary_data()
    assert tensor_to_binary(Tensor.of("v", array, datatype=datatype)) == theirs


@ROUND_TRIPS
@given(values=st.lists(st.binary(max_size=20), min_size=1, max_size=6))
def test_our_form_of_bytes_is_that_of_tritonclient(values: list[bytes]) -> None:
    """Length-prefixed elements are written as tritonclient's own serialiser writes them."""
    theirs = tritonclient.utils.serialize_byte_tensor(np.array(values, dtype=object)).item()
    assert tensor_to_binary(Tensor.of("v", values)) == theirs


@pytest.mark.parametrize("datatype", NUMBERS)
@ROUND_TRIPS
@given(data=st.data())
def test_our_answers_are_understood_by_tritonclient(datatype: str, data: st.DataObject) -> None:
    """Tritonclient reads our JSON and binary answers to the same array."""
    array = data.draw(arrays(datatype))
    for wants_binary in (False, True):
        request = InferenceRequest(inputs={}, id="1", wants_binary=wants_binary)
        encoded = encode_response({"v": Tensor.of("v", array)}, model_name="b", request=request)
        result = tritonclient.http.InferenceServerClient.parse_response_body(
            encoded.body, header_length=encoded.header_length
        )
        np.testing.assert_array_equal(result.as_numpy("v"), array)


@pytest.mark.parametrize("binary", [False, True])
def test_texts_in_our_answers_are_understood_by_tritonclient(*, binary: bool) -> None:
    """Tritonclient reads our BYTES outputs."""
    request = InferenceRequest(inputs={}, wants_binary=binary)
    encoded = encode_response({"v": Tensor.of("v", ["héllo", ""])}, model_name="b", request=request)
    found = tritonclient.http.InferenceServerClient.parse_response_body(
        encoded.body, header_length=encoded.header_length
    ).as_numpy("v")
    texts = [value.decode() if isinstance(value, bytes) else value for value in found.ravel().tolist()]
    assert texts == ["héllo", ""]


def test_our_requests_are_those_of_tritonclient() -> None:
    """Our binary request differs from tritonclient's in nothing but white space and order."""
    ours = encode_request([Tensor.of("v", _sample("FP32"))], binary=True)
    request = decode_request(ours.body, inputs=[TensorSpec("v", "FP32", (-1, 2))], header_length=ours.header_length)
    body, header_length = tritonclient.http.InferenceServerClient.generate_request_body(
        [_triton_input("FP32", _sample("FP32"), binary=True)]
    )
    theirs = decode_request(body, inputs=[TensorSpec("v", "FP32", (-1, 2))], header_length=header_length)
    assert (request.id or "", request.wants_binary) == (theirs.id or "", theirs.wants_binary)
    np.testing.assert_array_equal(request.inputs["v"].numpy(), theirs.inputs["v"].numpy())
