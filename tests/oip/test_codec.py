"""The short ways of a bot's codec give what the long ones give: answers to the byte, requests to the bit, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.oip.codec import Codec
from botshard.oip.errors import InvalidInputError, UnencodableOutputError
from botshard.oip.rest import InferenceRequest, decode_request, encode_response
from botshard.oip.tensors import Tensor
from botshard.sharding.catalog import TensorSpec
from tests.oip.strategies import FUZZ, NUMBERS, ROUND_TRIPS, tensors

_FLOATS = (TensorSpec("x", "FP32", (-1, 3)),)
_DOUBLES = (TensorSpec("x", "FP64", (-1, -1)),)
_WHOLE = (TensorSpec("x", "INT64", (-1, 2)),)
_TEXTS = (TensorSpec("x", "BYTES", (-1, 1)),)
_TWO = (TensorSpec("x", "FP32", (-1, 1)), TensorSpec("y", "BYTES", (-1, 1)))
_OUTPUTS = (TensorSpec("y", "FP32", (-1, 2)),)
_USUAL = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2.5,-3e-2]}]}'

_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e39, -3.5e38, 3.4e38, 0, -0.0, 1 << 53, 1e-46, "1", "[", [1.5], [[1.5]]]),
)
_entries = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "x", "x", "z", 1]),
        "datatype": st.sampled_from(["FP32", "FP32", "FP64", "INT64", "BYTES", None]),
        "shape": st.one_of(
            st.sampled_from([[1, 3], [2, 3], [3, 1], [1, 1], [0, 3], [True, 3], [1.0, 3], [3], [], None, [1, 3, 1]]),
            st.lists(st.integers(-1, 4), max_size=3),
        ),
        "data": st.one_of(st.lists(_values, max_size=6), st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3)),
    },
    optional={"parameters": st.sampled_from([{}, None, {"binary_data_size": 4}])},
)
_documents = st.fixed_dictionaries(
    {"inputs": st.one_of(st.lists(_entries, max_size=2), _entries.map(lambda entry: [entry]))},
    optional={"id": st.sampled_from(["a", "[", None, 3]), "outputs": st.just([{"name": "y"}])},
)


def _codec(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...] = _OUTPUTS) -> Codec:
    return Codec(inputs, outputs, model_name="a-bot", model_version="3")


def _outcome(read: Any) -> Any:
    """The request in values that compare, or what was wrong with it."""
    try:
        request: InferenceRequest = read()
    except InvalidInputError as error:
        return str(error)
    inputs = {
        name: (tensor.datatype, tensor.shape, tensor.data if isinstance(tensor.data, list) else tensor.data.tobytes())
        for name, tensor in request.inputs.items()
    }
    return inputs, request.id, request.outputs, request.wants_binary, dict(request.parameters)


@pytest.mark.parametrize(
    "inputs", [_FLOATS, _DOUBLES, _WHOLE, _TEXTS, _TWO], ids=["fp32", "fp64", "int", "text", "two"]
)
@given(document=_documents)
@FUZZ
def test_a_request_is_read_as_the_long_way_reads_it(inputs: tuple[TensorSpec, ...], document: dict[str, Any]) -> None:
    """Whatever is sent: the same tensors, or the same complaint."""
    body = orjson.dumps(document, default=str, option=orjson.OPT_PASSTHROUGH_SUBCLASS) if _fits(document) else b"{"
    long = _outcome(lambda: decode_request(body, inputs=inputs, outputs=_OUTPUTS))
    assert _outcome(lambda: _codec(inputs).decode(body)) == long
    assert _outcome(lambda: _codec(inputs).decode(memoryview(body))) == long


def _fits(document: object) -> bool:
    """Whether orjson can write it: it has no numbers over 64 bits."""
    try:
        orjson.dumps(document)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize(
    "body",
    [
        _USUAL,
        _USUAL.replace(b"[1,2.5", b"[ 1 , 2.5"),
        _USUAL.replace(b'"name"', b'"name":"z","name"'),
        _USUAL.replace(b'"data"', b'"shape":[9,9],"data"'),
        _USUAL.replace(b'{"inputs"', b'{"id":"[","inputs"'),
        _USUAL.replace(b'{"inputs"', b'{"id":null,"inputs"'),
        _USUAL.replace(b'{"inputs"', b'{"inputs":[],"inputs"'),
        _USUAL.replace(b"[1,2.5,-3e-2]", b"[[1,2.5,-3e-2]]"),
        _USUAL.replace(b"[1,2.5,-3e-2]", b"[[1],2.5,-3e-2]"),
        _USUAL.replace(b"[1,2.5,-3e-2]", b"[123456789012345678901234567890,2,3]"),
        _USUAL.replace(b"[1,2.5,-3e-2]", b"[1e39,2,3]"),
        _USUAL.replace(b"[1,2.5,-3e-2]", b"[3.4028235e38,-3.4028235e38,3e38]"),
        _USUAL.replace(b"[1,2.5,-3e-2]", b"[true,2,3]"),
        _USUAL.replace(b"[1,2.5,-3e-2]", b"[1,2,3,]"),
        _USUAL.replace(b"[1,2.5,-3e-2]", b"[NaN,2,3]"),
        _USUAL.replace(b"[1,2.5,-3e-2]", b"[1e-60,0,-0]"),
        _USUAL.replace(b"[1,3]", b"[3,1]"),
        _USUAL + b" ",
        _USUAL + b"x",
        _USUAL[:-1],
        b"[" * 100_000,
        b"\xef\xbb\xbf" + _USUAL,
        b"",
        b"null",
        b"3",
        b'"[[["',
    ],
    ids=range(26),
)
def test_odd_bodies_are_read_as_the_long_way_reads_them(body: bytes) -> None:
    """Doubled keys, nested data, numbers at the edges, and what is no JSON."""
    long = _outcome(lambda: decode_request(body, inputs=_FLOATS, outputs=_OUTPUTS))
    codec = _codec(_FLOATS)
    assert _outcome(lambda: codec.decode(body)) == long
    # A parser that has refused something reads what comes next.
    assert _outcome(lambda: codec.decode(_USUAL)) == _outcome(lambda: decode_request(_USUAL, inputs=_FLOATS))


@pytest.mark.parametrize("datatype", [*NUMBERS, "BYTES"])
@given(data=st.data(), request_id=st.one_of(st.none(), st.text(max_size=5)))
@ROUND_TRIPS
def test_an_answer_is_written_as_the_long_way_writes_it(
    datatype: str, data: st.DataObject, request_id: str | None
) -> None:
    """To the byte."""
    tensor = data.draw(tensors(datatype, binary=False))
    request = InferenceRequest({}, request_id)
    outputs = {"x": tensor, "and": Tensor.of("and", ["ü", '"']), "number": Tensor.of("number", np.arange(3))}
    codec = Codec((), (), model_name='a"b', model_version="7")
    wanted = encode_response(outputs, model_name='a"b', model_version="7", request=request)
    assert codec.encode(outputs, request) == wanted
    assert codec.encode(outputs, request._replace(wants_binary=True)) == encode_response(
        outputs, model_name='a"b', model_version="7", request=request._replace(wants_binary=True)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_json_has_no_number_for_is_not_written_as_null(value: float) -> None:
    """It is refused, with the output's name."""
    outputs = {"y": Tensor.of("y", np.array([[1.0, value]], dtype=np.float32))}
    with pytest.raises(UnencodableOutputError, match="y"):
        _codec(_FLOATS).encode(outputs, InferenceRequest({}))


def test_columns_of_a_batch_are_written_in_their_order() -> None:
    """An output may be a view of a batch that stands the other way round."""
    batch = np.arange(6, dtype=np.float32).reshape(2, 3)
    body = _codec(_FLOATS).encode({"y": Tensor.of("y", batch.T[1:2])}, InferenceRequest({})).body
    assert orjson.loads(body)["outputs"][0]["data"] == [1.0, 4.0]
