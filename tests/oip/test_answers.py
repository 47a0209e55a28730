"""Answers: the form that was asked for, nothing that the protocol's description forbids."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from botshard.oip.client import decode_error, decode_response, encode_request
from botshard.oip.errors import InvalidAnswerError, InvalidInputError, UnencodableOutputError
from botshard.oip.rest import InferenceRequest, RequestedOutput, decode_request, encode_response
from botshard.oip.tensors import Tensor, datatype_of
from botshard.sharding.catalog import TensorSpec
from botshard.sharding.errors import CallerError
from tests.oip.schema import assert_valid

_SPECS = (TensorSpec("t", "BYTES", (-1, 1)),)
_OUTPUTS = {
    "label": Tensor.of("label", ["yes"]),
    "p": Tensor.of("p", np.array([[0.25, 0.1]], dtype=np.float32)),
}


def _request(*, outputs: tuple[RequestedOutput, ...] = (), wants_binary: bool = False) -> InferenceRequest:
    return InferenceRequest(inputs={"t": Tensor.of("t", ["hi"])}, id="r1", outputs=outputs, wants_binary=wants_binary)


def test_absent_fields_are_left_out() -> None:
    """Without id, version and parameters the answer has no nulls in their place."""
    document = orjson.loads(encode_response(_OUTPUTS, model_name="b").body)
    assert set(document) == {"model_name", "outputs"}
    assert_valid(document, "inference_response")


def test_id_version_and_parameters_are_carried() -> None:
    """The request's id comes back, with the version and parameters of the answer."""
    encoded = encode_response(
        _OUTPUTS, model_name="b", model_version="7", request=_request(), parameters={"cold": True}
    )
    assert_valid(orjson.loads(encoded.body), "inference_response")
    answer = decode_response(encoded.body)
    assert (answer.model_name, answer.model_version, answer.id, answer.parameters) == ("b", "7", "r1", {"cold": True})


def test_float32_is_written_as_short_as_it_is() -> None:
    """0.1 as float32 is written 0.1, not as the double it is nearest to."""
    assert b'"data":[0.25,0.1]' in encode_response(_OUTPUTS, model_name="b").body


@pytest.mark.parametrize(
    ("request_", "binary"),
    [
        pytest.param(_request(), {"label": False, "p": False}, id="nothing said"),
        pytest.param(_request(wants_binary=True), {"label": True, "p": True}, id="binary for all"),
        pytest.param(
            _request(outputs=(RequestedOutput("p", is_binary=True), RequestedOutput("label"))),
            {"p": True, "label": False},
            id="one by one",
        ),
        pytest.param(
            _request(outputs=(RequestedOutput("p"), RequestedOutput("label", is_binary=False)), wants_binary=True),
            {"p": True, "label": False},
            id="one against all",
        ),
        pytest.param(_request(outputs=(RequestedOutput("p"),)), {"p": False}, id="only one"),
    ],
)
def test_outputs_go_out_in_the_form_and_order_asked_for(request_: InferenceRequest, binary: dict[str, bool]) -> None:
    """An output's own `binary_data` wins over `binary_data_output`; JSON is the default."""
    encoded = encode_response(_OUTPUTS, model_name="b", request=request_)
    assert (encoded.header_length is not None) == any(binary.values())
    head = orjson.loads(encoded.body[: encoded.header_length])
    assert {entry["name"]: "data" not in entry for entry in head["outputs"]} == binary
    assert [entry["name"] for entry in head["outputs"]] == list(binary)
    answer = decode_response(encoded.body, header_length=encoded.header_length)
    for name, tensor in answer.outputs.items():
        np.testing.assert_array_equal(tensor.numpy(), _OUTPUTS[name].numpy())


def test_an_output_that_does_not_exist_is_the_clients_mistake() -> None:
    """Asking for an unknown output is an InvalidInputError that names the known ones."""
    with pytest.raises(InvalidInputError, match="output 'q': is unknown; the outputs are label, p"):
        encode_response(_OUTPUTS, model_name="b", request=_request(outputs=(RequestedOutput("q"),)))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        pytest.param(Tensor.of("y", np.array([[np.nan]])), "NaN or an infinity", id="NaN"),
        pytest.param(Tensor.of("y", np.array([[np.inf]], np.float16)), "NaN or an infinity", id="infinity"),
        pytest.param(Tensor.of("y", [b"\xff"]), "not UTF-8", id="bytes"),
        pytest.param(Tensor.of("y", np.zeros((1, 1), np.float32), datatype="BF16"), "BF16", id="bf16"),
    ],
)
def test_what_json_cannot_say_is_refused_and_binary_carries_it(tensor: Tensor, message: str) -> None:
    """JSON has numbers and text only; the same output goes out as binary data."""
    with pytest.raises(UnencodableOutputError, match=message) as refused:
        encode_response({"y": tensor}, model_name="b")
    assert refused.value.tensor == "y"
    encoded = encode_response({"y": tensor}, model_name="b", request=_request(wants_binary=True))
    answer = decode_response(encoded.body, header_length=encoded.header_length)
    np.testing.assert_array_equal(answer.outputs["y"].numpy(), tensor.numpy())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"model_name":"b"}',
        b'{"outputs":[{"name":"y"}]}',
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[1]}]}',
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}',
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":"4"}}]}',
    ],
    ids=["empty", "array", "no outputs", "half", "too short", "no binary", "size text"],
)
def test_an_answer_that_is_none_is_refused(body: bytes) -> None:
    """A client is told that the answer is not one of the protocol."""
    with pytest.raises(InvalidAnswerError, match="not one of the Open Inference Protocol"):
        decode_response(body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(b'{"error": "bot x is unknown"}', "bot x is unknown", id="error object"),
        pytest.param(b"<h1>Bad Gateway</h1>", "<h1>Bad Gateway</h1>", id="a page"),
        pytest.param(b'{"detail": []}', '{"detail": []}', id="another object"),
        pytest.param(b"", "", id="nothing"),
    ],
)
def test_an_error_answer_is_shown_whatever_it_looks_like(body: bytes, text: str) -> None:
    """The protocol's error object gives its text, anything else is shown as it is."""
    assert decode_error(body) == text


def test_a_type_that_the_protocol_lacks_is_our_bug() -> None:
    """Complex numbers have no datatype."""
    with pytest.raises(CallerError, match="complex64"):
        datatype_of(np.zeros(1, np.complex64))
    assert datatype_of(np.array(["a"])) == "BYTES"


def test_objects_that_are_no_text_are_refused() -> None:
    """A BYTES output may hold text and bytes only."""
    with pytest.raises(UnencodableOutputError, match="not int"):
        Tensor.of("y", np.array([["a"], [3]], dtype=object))
    assert Tensor.of("y", np.array([["a"], [b"b"]], dtype=object)).data == [b"a", b"b"]


def test_parameters_and_wanted_outputs_are_carried_by_a_request() -> None:
    """What a client says about the request as a whole arrives."""
    encoded = encode_request([Tensor.of("t", ["hi"])], id="7", outputs=["p"], parameters={"k": 1}, binary=True)
    request = decode_request(encoded.body, inputs=_SPECS, header_length=encoded.header_length)
    assert (request.id, request.parameters["k"], request.wants_binary) == ("7", 1, True)
    assert request.outputs == (RequestedOutput("p", is_binary=True),)
