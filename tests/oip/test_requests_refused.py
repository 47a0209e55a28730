"""Whatever is wrong with a request is refused, with the tensor's name and with what would be right."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from botshard.oip.client import encode_request
from botshard.oip.errors import InvalidInputError
from botshard.oip.rest import decode_request, fit_inputs, parse_header_length
from botshard.oip.tensors import DATATYPES, Tensor
from botshard.sharding.catalog import TensorSpec
from tests.oip.strategies import FUZZ

_SPECS = (TensorSpec("text", "BYTES", (-1, 1)), TensorSpec("x", "FP32", (-1, 2)))
_TEXT = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["hi"]}
_X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2.5]}
_ONE = {"name": "v", "shape": [1, 2]}


def _body(**changes: Any) -> bytes:
    return orjson.dumps({"inputs": [_TEXT, {**_X, **changes}]})


@pytest.mark.parametrize(
    ("body", "tensor", "message"),
    [
        pytest.param(b"", None, "not JSON", id="empty body"),
        pytest.param(b"{", None, "not JSON", id="malformed"),
        pytest.param(b'{"inputs":[{"name":"x\xff"}]}', None, "not JSON", id="not UTF-8"),
        pytest.param(b'{"inputs": [NaN]}', None, "not JSON", id="NaN token"),
        pytest.param(b"[" * 5000 + b"]" * 5000, None, "not JSON", id="nested without end"),
        pytest.param(b"[]", None, "must be a JSON object, found an array", id="top level array"),
        pytest.param(b"null", None, "found nothing", id="top level null"),
        pytest.param(b"{}", None, "inputs must be an array", id="no inputs"),
        pytest.param(b'{"inputs": {}}', None, "inputs must be an array", id="inputs object"),
        pytest.param(b'{"inputs": [1]}', None, r"inputs\[0\] must be an object", id="input number"),
        pytest.param(b'{"inputs": [{}]}', None, r"inputs\[0\].name must be text", id="input without name"),
        pytest.param(b'{"inputs": [], "id": 3}', "text", "is missing", id="missing first"),
        pytest.param(orjson.dumps({"inputs": [_TEXT]}), "x", "is missing", id="missing second"),
        pytest.param(orjson.dumps({"inputs": [_TEXT, _X], "id": 3}), None, "id must be text", id="id number"),
        pytest.param(_body(name="y"), "y", "is unknown; the inputs are text, x", id="unknown"),
        pytest.param(orjson.dumps({"inputs": [_X, _TEXT, _X]}), "x", "is there twice", id="twice"),
        pytest.param(_body(datatype="FP64"), "x", "datatype must be FP32, found FP64", id="other datatype"),
        pytest.param(_body(datatype=None), "x", "datatype must be FP32, found nothing", id="no datatype"),
        pytest.param(_body(datatype={}), "x", "datatype must be FP32, found an object", id="datatype object"),
        pytest.param(_body(shape=None), "x", "shape must be an array", id="no shape"),
        pytest.param(_body(shape=[1.0, 2]), "x", "shape must be an array", id="shape of floats"),
        pytest.param(_body(shape=[True, 2]), "x", "shape must be an array", id="shape of booleans"),
        pytest.param(_body(shape=[-1, 2]), "x", "shape must be an array", id="negative shape"),
        pytest.param(_body(shape=[1] * 99), "x", "shape must be an array", id="99 dimensions"),
        pytest.param(_body(shape=[2]), "x", r"shape \[2\] does not fit the declared \[-1, 2\]", id="rank"),
        pytest.param(_body(shape=[1, 3]), "x", r"shape \[1, 3\] does not fit", id="fixed dimension"),
        pytest.param(_body(shape=[0, 2], data=[]), "x", "holds nothing", id="no rows"),
        pytest.param(_body(shape=[2, 2]), "x", r"data holds 2 elements, but shape \[2, 2\] takes 4", id="too few"),
        pytest.param(_body(shape=[9**18, 2]), "x", "data holds 2 elements", id="huge shape"),
        pytest.param(_body(data=[1, 2, 3]), "x", "data holds 3 elements", id="too many"),
        pytest.param(_body(data=[[1, 2], [3, 4]]), "x", "data holds 2 rows", id="too many rows"),
        pytest.param(_body(data=[[1], [2]], shape=[2, 2]), "x", "not nested as its shape", id="ragged"),
        pytest.param(_body(data=[1, [2]]), "x", r"must be numbers, found \[2\] at index 1", id="half nested"),
        pytest.param(_body(data=[[[1], [2]]]), "x", "must be numbers", id="nested too deep"),
        pytest.param(_body(data="ab"), "x", "data must be an array", id="data text"),
        pytest.param(_body(data=None), "x", "data must be an array", id="data null"),
        pytest.param(_body(data=[1, True]), "x", "must be numbers, found True at index 1", id="boolean number"),
        pytest.param(_body(data=[1, "2"]), "x", "must be numbers, found '2' at index 1", id="number as text"),
        pytest.param(_body(data=[1, None]), "x", "must be numbers, found None at index 1", id="null number"),
        pytest.param(_body(data=[1, 1e39]), "x", "too large for FP32", id="too large"),
        pytest.param(_body(parameters=[]), "x", "parameters must be an object", id="parameters array"),
        pytest.param(_body(parameters={"binary_data_size": 8}), "x", "has both data and", id="data twice"),
        pytest.param(
            _body(parameters={"shared_memory_region": "r"}), "x", "shared_memory_region is not", id="shared memory"
        ),
        pytest.param(
            orjson.dumps({"inputs": [_TEXT, {"name": "x", "datatype": "FP32", "shape": [1, 2]}]}),
            "x",
            "neither data nor",
            id="no data",
        ),
        pytest.param(
            orjson.dumps({"inputs": [_TEXT, {**_X, "shape": [2, 2], "data": [1, 2, 3, 4]}]}),
            "x",
            "has 2 rows, but 'text' has 1",
            id="rows differ",
        ),
        pytest.param(
            orjson.dumps({"inputs": [{**_TEXT, "data": [1]}, _X]}), "text", "must be text, found 1", id="text number"
        ),
        pytest.param(orjson.dumps({"inputs": [_TEXT, _X], "outputs": 1}), None, "outputs must be", id="outputs number"),
        pytest.param(orjson.dumps({"inputs": [_TEXT, _X], "outputs": [1]}), None, r"outputs\[0\]", id="output number"),
        pytest.param(
            orjson.dumps({"inputs": [_TEXT, _X], "outputs": [{"name": "q"}]}),
            "q",
            "output 'q': is unknown; the outputs are label",
            id="unknown output",
        ),
        pytest.param(
            orjson.dumps({"inputs": [_TEXT, _X], "outputs": [{"name": "label"}, {"name": "label"}]}),
            "label",
            "asked for twice",
            id="output twice",
        ),
        pytest.param(
            orjson.dumps({"inputs": [_TEXT, _X], "outputs": [{"name": "label", "parameters": {"classification": 2}}]}),
            "label",
            "classification is not supported",
            id="classification",
        ),
        pytest.param(
            orjson.dumps({"inputs": [_TEXT, _X], "parameters": {"binary_data_output": 1}}),
            None,
            "binary_data_output must be true or false",
            id="flag number",
        ),
    ],
)
def test_a_wrong_json_request_is_refused_with_the_reason(body: bytes, tensor: str | None, message: str) -> None:
    """Each mistake is an InvalidInputError that names the tensor and says what is wrong."""
    with pytest.raises(InvalidInputError, match=message) as refused:
        decode_request(body, inputs=_SPECS, outputs=[TensorSpec("label", "BYTES", (-1, 1))])
    assert refused.value.tensor == tensor


@pytest.mark.parametrize(
    ("datatype", "data", "message"),
    [
        pytest.param("INT8", [1, 128], "must lie in -128 … 127", id="int8 above"),
        pytest.param("UINT8", [1, -1], "must lie in 0 … 255", id="uint8 below"),
        pytest.param("INT64", [1, 2**63], "must lie in", id="int64 above"),
        pytest.param("UINT64", [1, -1], "must lie in", id="uint64 below"),
        pytest.param("INT32", [1, 2.0], "must be whole numbers, found 2.0", id="float for int"),
        pytest.param("INT32", [True, 2], "must be whole numbers, found True at index 0", id="boolean for int"),
        pytest.param("BOOL", [True, 1], "must be true or false, found 1 at index 1", id="int for boolean"),
        pytest.param("FP16", [1, 70000], "too large for FP16", id="fp16 above"),
        pytest.param("BF16", [1, 2], "BF16 has no JSON form", id="bf16"),
        pytest.param("BYTES", ["a", ["b"]], "must be text", id="array for text"),
    ],
)
def test_values_are_taken_literally(datatype: str, data: list[object], message: str) -> None:
    """Nothing is converted between kinds or cut to fit."""
    body = orjson.dumps({"inputs": [{**_ONE, "datatype": datatype, "data": data}]})
    with pytest.raises(InvalidInputError, match=message):
        decode_request(body, inputs=[TensorSpec("v", datatype, (-1, 2))])


def _binary(
    datatype: str, raw: bytes, *, size: int | None = None, shape: tuple[int, ...] = (1, 2)
) -> tuple[bytes, int]:
    entry: dict[str, object] = {"name": "v", "shape": shape, "datatype": datatype}
    entry["parameters"] = {"binary_data_size": len(raw) if size is None else size}
    head = orjson.dumps({"inputs": [entry]})
    return head + raw, len(head)


@pytest.mark.parametrize(
    ("datatype", "raw", "size", "message"),
    [
        pytest.param("FP32", b"1234567", None, "7 bytes of binary data, but FP32 of shape .1, 2. takes 8", id="short"),
        pytest.param("FP32", b"12345678", 9, "binary_data_size is 9, but 8 bytes are left", id="size above"),
        pytest.param("FP32", b"12345678ab", 8, "2 bytes follow the last binary tensor", id="garbage behind"),
        pytest.param("FP32", b"12345678", -8, "must be a number of bytes", id="negative size"),
        pytest.param("FP32", b"\0\0\xc0\x7f" * 2, None, "NaN or an infinity", id="NaN"),
        pytest.param("FP16", b"\0\x7c\0\0", None, "NaN or an infinity", id="infinity"),
        pytest.param("BF16", b"\x80\x7f\0\0", None, "NaN or an infinity", id="bf16 infinity"),
        pytest.param("BOOL", b"\0\2", None, "bytes 0 or 1", id="boolean 2"),
        pytest.param("BYTES", b"", None, "too few for 2 elements", id="no lengths"),
        pytest.param("BYTES", b"\1\0\0\0ab\0\0\0", None, "ends within element 1", id="length lies"),
        pytest.param("BYTES", b"\3\0\0\0abc\0\0\0", None, "ends before the length of element 1", id="half a length"),
        pytest.param("BYTES", b"\0\0\0\0\0\0\0\0x", None, "1 bytes of binary data follow", id="more elements"),
    ],
)
def test_wrong_binary_data_is_refused(datatype: str, raw: bytes, size: int | None, message: str) -> None:
    """Binary data must be exactly what datatype and shape take, and finite."""
    body, header_length = _binary(datatype, raw, size=size)
    with pytest.raises(InvalidInputError, match=message):
        decode_request(body, inputs=[TensorSpec("v", datatype, (-1, 2))], header_length=header_length)


def test_a_huge_shape_of_bytes_costs_nothing() -> None:
    """A shape that the data cannot fill is refused before anything is allocated for it."""
    body, header_length = _binary("BYTES", b"\0" * 8, shape=(2**40, 2))
    with pytest.raises(InvalidInputError, match="too few"):
        decode_request(body, inputs=[TensorSpec("v", "BYTES", (-1, 2))], header_length=header_length)


@pytest.mark.parametrize("header_length", [-1, 0, 10**6])
def test_a_wrong_header_length_is_refused(header_length: int) -> None:
    """The JSON part must lie within the body."""
    body, _ = _binary("FP32", b"12345678")
    with pytest.raises(InvalidInputError, match="Inference-Header-Content-Length is"):
        decode_request(body, inputs=_SPECS, header_length=header_length)


def test_binary_data_without_the_header_is_refused() -> None:
    """A binary tensor in a body that is JSON alone is refused by its name."""
    body, header_length = _binary("FP32", b"12345678")
    with pytest.raises(InvalidInputError, match="needs the header"):
        decode_request(body[:header_length], inputs=[TensorSpec("v", "FP32", (-1, 2))])


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", " 1", "٣", "1_0", "9" * 40])
def test_a_header_length_that_is_no_number_is_refused(value: str) -> None:
    """Only ASCII digits make a header length."""
    with pytest.raises(InvalidInputError, match="number of bytes"):
        parse_header_length(value)


def test_a_header_length_may_be_absent() -> None:
    """No header reads as None, digits as their number."""
    assert parse_header_length(None) is None
    assert parse_header_length("017") == 17


def test_null_stands_for_absent() -> None:
    """Clients that write null for optional fields are understood."""
    body = {"id": None, "parameters": None, "outputs": None, "inputs": [{**_TEXT, "parameters": None}, _X]}
    request = decode_request(orjson.dumps(body), inputs=_SPECS)
    assert (request.id, request.parameters, request.outputs, request.rows) == (None, {}, (), 1)


def test_inputs_come_out_in_the_declared_order() -> None:
    """The order of a request's tensors does not matter."""
    request = decode_request(orjson.dumps({"inputs": [_X, _TEXT]}), inputs=_SPECS)
    assert list(request.inputs) == ["text", "x"]


def test_other_ways_in_are_checked_alike() -> None:
    """Tensors that did not come over REST are checked against the declaration by the same rules."""
    text, x = Tensor.of("text", ["hi"]), Tensor.of("x", np.zeros((1, 2), np.float32))
    assert list(fit_inputs([x, text], _SPECS)) == ["text", "x"]
    for tensors, message in [
        ([x], "'text': is missing"),
        ([x, text, x], "'x': is there twice"),
        ([Tensor.of("y", ["a"])], "'y': is unknown"),
        ([Tensor.of("x", np.zeros((1, 2)))], "'x': datatype must be FP32, found FP64"),
        ([Tensor.of("x", np.zeros((1, 3), np.float32))], r"'x': shape \[1, 3\] does not fit"),
        ([Tensor.of("text", ["a", "b"]), x], "'x': has 1 rows"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            fit_inputs(tensors, _SPECS)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=6,
)


@FUZZ
@given(body=st.binary(max_size=60) | _JSON.map(orjson.dumps), header_length=st.none() | st.integers(-2, 70))
def test_arbitrary_bodies_never_raise_anything_else(body: bytes, header_length: int | None) -> None:
    """Bytes without meaning, and JSON without meaning, are refused and nothing worse."""
    with pytest.raises(InvalidInputError):
        decode_request(body, inputs=_SPECS, header_length=header_length)


@FUZZ
@given(
    field=st.sampled_from(["name", "datatype", "shape", "data", "parameters"]),
    value=_JSON,
    target=st.sampled_from([0, 1]),
)
@example(field="shape", value=[2**62, 2**62], target=1)
def test_any_value_in_any_field_is_refused_or_understood(field: str, value: object, target: int) -> None:
    """A field with any value at all makes an InvalidInputError or a request that fits the declaration."""
    entries: list[dict[str, object]] = [dict(_TEXT), dict(_X)]
    entries[target][field] = value
    _refused_or_fitting(orjson.dumps({"inputs": entries}), None)


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@FUZZ
@given(data=st.data())
def test_mutated_valid_bodies_are_refused_or_understood(*, binary: bool, data: st.DataObject) -> None:
    """A valid body with some bytes changed, cut or added is refused or still fits the declaration."""
    tensors = [Tensor.of("text", ["héllo"]), Tensor.of("x", np.array([[1.5, -2]], dtype=np.float32))]
    encoded = encode_request(tensors, id="q", outputs=["label"], binary=binary)
    body = bytearray(encoded.body)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    _refused_or_fitting(bytes(body), encoded.header_length)


def _refused_or_fitting(body: bytes, header_length: int | None) -> None:
    try:
        request = decode_request(body, inputs=_SPECS, header_length=header_length)
    except InvalidInputError:
        return
    for spec, tensor in zip(_SPECS, request.inputs.values(), strict=True):
        assert (spec.name, spec.datatype, len(spec.shape)) == (tensor.name, tensor.datatype, len(tensor.shape))
        array = tensor.numpy()
        assert array.shape == tensor.shape
        assert array.dtype == DATATYPES[spec.datatype]
